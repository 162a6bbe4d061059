"""Operations toolkit for the PostgreSQL database of IA-Calls."""

__version__ = "0.1.0"
