"""The words that sample data are made of: names, campaigns, conversations, in Spanish."""

FIRST_NAMES = (
    "Sofía", "José", "María", "Andrés", "Ángela", "Iván", "Lucía", "Sebastián", "Inés", "Óscar", "Verónica", "Julián",
    "Natalia", "Álvaro", "Camila", "Jesús", "Mónica", "Héctor", "Íngrid", "Nicolás", "Yolanda", "Raúl", "Begoña",
)  # fmt: skip
LAST_NAMES = (
    "García", "Rodríguez", "Muñoz", "Peña", "Gómez", "Ibáñez", "López", "Núñez", "Martínez", "Cárdenas", "Ordóñez",
    "Hernández", "Ávila", "Quiñones", "Ramírez", "Zúñiga", "Sánchez", "Castaño", "Pérez", "Bermúdez", "Vélez", "Ñáñez",
)  # fmt: skip
CITIES = ("Bogotá", "Medellín", "Cali", "Barranquilla", "Cúcuta", "Ibagué", "Popayán", "Montería")
CATEGORIES = (
    "restaurante",
    "peluquería",
    "taller mecánico",
    "clínica dental",
    "ferretería",
    "colegio",
    "hotel",
    "panadería",
)
CAMPAIGNS = (
    "Cobranza", "Encuesta de satisfacción", "Renovación de pólizas", "Bienvenida", "Reactivación",
    "Recordatorio de citas", "Promoción de fin de año", "Actualización de datos",
)  # fmt: skip
GREETINGS = (
    "Buenos días, ¿hablo con {name}?",
    "Hola, {name}, le llamo de parte de la campaña. ¿Tiene un minuto?",
    "Muy buenas tardes, {name}. ¿Cómo está?",
    "¡Hola! ¿Me comunico con {name}?",
)
REPLIES = (
    "Sí, con mucho gusto. ¿De qué se trata?",
    "Sí, soy yo, pero ahora estoy en una reunión; llámeme mañana.",
    "Claro que sí, me interesa. ¿Cuánto cuesta?",
    "No, gracias, ya tengo el servicio con otra compañía.",
    "Sí, por favor mándeme la información por WhatsApp.",
    "Aló, ¿quién habla? Sí, dígame.",
)
SUMMARIES = (
    "El cliente mostró interés y pidió la información por WhatsApp.",
    "El cliente pidió que lo llamen mañana por la mañana.",
    "El cliente no está interesado: ya tiene el servicio.",
    "Se confirmó la cita y el cliente agradeció la llamada.",
    "El cliente preguntó por el precio y quedó en pensarlo.",
    "Se actualizaron los datos de contacto del cliente.",
)
MESSAGES = (
    "Hola, {name}. Como le prometimos, aquí tiene la información.",
    "{name}, le recordamos su cita de mañana. ¿Puede confirmarla?",
    "Gracias por su tiempo, {name}. ¿Le quedó alguna pregunta?",
)
ANSWERS = ("Muchas gracias.", "Sí, confirmo.", "¿Cuánto cuesta?", "Por ahora no, gracias.", "¡Perfecto! Allí estaré.")
ERRORS = ("El número no tiene WhatsApp", "Se agotó el tiempo de espera del proveedor", "Número no válido")
