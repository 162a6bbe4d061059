"""Databases as other generators of the application made them, with rows; see `tests/db/test_verify_lineages.py`."""

# Everything in timestamptz, other roles, no names of campaigns kept unique.
LINEAGE_A = """
CREATE TABLE users (id serial PRIMARY KEY, username varchar(50) UNIQUE NOT NULL, email varchar(100) UNIQUE NOT NULL,
    password varchar(255) NOT NULL, first_name varchar(50), last_name varchar(50),
    role varchar(20) DEFAULT 'user' CHECK (role IN ('admin', 'user', 'moderator')), is_active boolean DEFAULT true,
    created_at timestamptz DEFAULT CURRENT_TIMESTAMP, updated_at timestamptz DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE clients (id serial PRIMARY KEY, external_id varchar(100), name varchar(255) NOT NULL, phone varchar(50),
    email varchar(100), address text, category varchar(100), review text, status varchar(50) DEFAULT 'pending',
    metadata jsonb, is_active boolean DEFAULT true, created_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT now());
CREATE TABLE groups (id serial PRIMARY KEY, name varchar(100) NOT NULL, description text, prompt text,
    created_by integer REFERENCES users (id) ON DELETE SET NULL, is_active boolean DEFAULT true,
    created_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT now());
CREATE TABLE client_groups (id serial PRIMARY KEY, client_id integer REFERENCES clients (id) ON DELETE CASCADE,
    group_id integer REFERENCES groups (id) ON DELETE CASCADE, assigned_at timestamptz DEFAULT now());
CREATE TABLE uploaded_files (id serial PRIMARY KEY, original_name varchar(255) NOT NULL, file_name varchar(255) NOT NULL,
    bucket_url text NOT NULL, file_size bigint NOT NULL, content_type varchar(100), uploaded_by integer REFERENCES users (id),
    created_at timestamptz DEFAULT now());
CREATE TABLE activity_logs (id serial PRIMARY KEY, user_id integer REFERENCES users (id) ON DELETE SET NULL,
    action varchar(100) NOT NULL, ip_address inet, created_at timestamptz DEFAULT now());
CREATE TABLE user_sessions (id serial PRIMARY KEY, user_id integer REFERENCES users (id) ON DELETE CASCADE, token text);
CREATE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN NEW.updated_at = CURRENT_TIMESTAMP; RETURN NEW; END; $$;
CREATE TRIGGER update_users_updated_at BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
INSERT INTO users (username, email, password, role, created_at)
    VALUES ('ana', 'a', 'x', 'admin', '2025-07-01 12:00-05'), ('mo', 'm', 'x', 'moderator', '2025-07-02');
INSERT INTO clients (name, phone) SELECT 'c' || n, '+57' || n FROM generate_series(1, 20) AS n;
INSERT INTO groups (name, created_by) VALUES ('Julio', 1), ('Julio', 1), ('Agosto', 2);
INSERT INTO client_groups (client_id, group_id) VALUES (1, 1), (2, 1), (2, 1), (NULL, 2);
INSERT INTO uploaded_files (original_name, file_name, bucket_url, file_size, uploaded_by)
    VALUES ('a.xlsx', 'f1', 'gs://a', 1, 1), ('a.xlsx', 'f1', 'gs://a', 2, 1);
"""

# No checks, triggers, views or comments; other columns of files; a campaign's client is a key.
LINEAGE_B = """
CREATE TABLE users (id serial PRIMARY KEY, username varchar(50) UNIQUE NOT NULL, email varchar(100) UNIQUE NOT NULL,
    password varchar(255) NOT NULL, first_name varchar(50), last_name varchar(50), role varchar(20) DEFAULT 'user',
    is_active boolean DEFAULT true, agent_id varchar(100), time timestamp,
    created_at timestamp DEFAULT CURRENT_TIMESTAMP, updated_at timestamp DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE clients (id serial PRIMARY KEY, external_id varchar(100), name varchar(100) NOT NULL, phone varchar(20) NOT NULL,
    email varchar(100), address text, category varchar(50), review text, status varchar(20) DEFAULT 'pending',
    metadata jsonb, is_active boolean DEFAULT true, created_at timestamp DEFAULT now(), updated_at timestamp DEFAULT now());
CREATE TABLE groups (id serial PRIMARY KEY, name varchar(100) NOT NULL, description text, prompt text,
    color varchar(7) DEFAULT '#3B82F6', favorite boolean DEFAULT false, is_active boolean DEFAULT true,
    created_by integer REFERENCES users (id), "created-by" integer REFERENCES clients (id), idioma varchar(5) DEFAULT 'es',
    variables jsonb DEFAULT '{}', batch_id varchar(100), batch_status varchar(20) DEFAULT 'none',
    created_at timestamp DEFAULT now(), updated_at timestamp DEFAULT now());
CREATE TABLE client_groups (id serial PRIMARY KEY, client_id integer REFERENCES clients (id) ON DELETE CASCADE,
    group_id integer REFERENCES groups (id) ON DELETE CASCADE, assigned_by integer REFERENCES users (id),
    assigned_at timestamp DEFAULT now(), UNIQUE (client_id, group_id));
CREATE TABLE uploaded_files (id serial PRIMARY KEY, filename varchar(500) NOT NULL, original_name varchar(255) NOT NULL,
    file_path varchar(500) NOT NULL, file_size integer NOT NULL, mime_type varchar(100), uploaded_by integer REFERENCES users (id),
    uploaded_at timestamp DEFAULT now(), processed_at timestamp, status varchar(20) DEFAULT 'pending', metadata jsonb);
CREATE TABLE gcp_documents (id serial PRIMARY KEY, filename varchar(255) NOT NULL, bucket_name varchar(100) NOT NULL,
    file_path varchar(500) NOT NULL, file_size integer NOT NULL, mime_type varchar(100), uploaded_by integer REFERENCES users (id),
    uploaded_at timestamp DEFAULT now(), processed_at timestamp, status varchar(20), metadata jsonb);
CREATE TABLE batch_calls (id serial PRIMARY KEY, batch_id varchar(100) UNIQUE NOT NULL, group_id integer REFERENCES groups (id),
    user_id integer REFERENCES users (id), agent_id varchar(100), call_name varchar(100), status varchar(20) DEFAULT 'pending',
    total_recipients integer DEFAULT 0, completed_calls integer DEFAULT 0, failed_calls integer DEFAULT 0,
    started_at timestamp DEFAULT now(), completed_at timestamp, metadata jsonb, created_at timestamp DEFAULT now(),
    updated_at timestamp DEFAULT now());
CREATE TABLE call_records (id serial PRIMARY KEY, batch_call_id integer REFERENCES batch_calls (id) ON DELETE CASCADE,
    client_id integer REFERENCES clients (id), phone_number varchar(20) NOT NULL, recipient_id varchar(100),
    conversation_id varchar(100), status varchar(20) DEFAULT 'pending', call_duration_secs integer, transcript_summary text,
    full_transcript jsonb, audio_url text, audio_file_name varchar(255), audio_size integer, audio_content_type varchar(100),
    call_started_at timestamp, call_ended_at timestamp, created_at timestamp DEFAULT now(), updated_at timestamp DEFAULT now());
CREATE TABLE whatsapp_conversations (id serial PRIMARY KEY, phone_number varchar(20) NOT NULL, client_name varchar(100),
    conversation_summary text NOT NULL, message_sent jsonb, message_received jsonb, status varchar(20) DEFAULT 'pending',
    vonage_message_id varchar(100), error_message text, sent_at timestamp, received_at timestamp,
    created_at timestamp DEFAULT now(), updated_at timestamp DEFAULT now());
CREATE INDEX idx_users_email ON users (email); CREATE INDEX idx_clients_phone ON clients (phone);
CREATE INDEX idx_batch_calls_batch_id ON batch_calls (batch_id); CREATE INDEX idx_call_records_status ON call_records (status);
INSERT INTO users (username, email, password) VALUES ('ana', 'a', 'x'), ('luis', 'l', 'x');
INSERT INTO clients (name, phone, status) SELECT 'c' || n, '+57' || n, 'pending' FROM generate_series(1, 20) AS n;
INSERT INTO groups (name, created_by, "created-by") VALUES ('Julio', 1, 3), ('Agosto', 2, NULL);
INSERT INTO client_groups (client_id, group_id, assigned_by) VALUES (1, 1, 1), (2, 1, 2);
INSERT INTO uploaded_files (filename, original_name, file_path, file_size) VALUES ('f1', 'a.xlsx', '/a', 1);
INSERT INTO gcp_documents (filename, bucket_name, file_path, file_size) VALUES ('d1', 'b', '/d', 1);
INSERT INTO batch_calls (batch_id, group_id, user_id) VALUES ('b1', 1, 1);
INSERT INTO call_records (batch_call_id, client_id, phone_number, status) VALUES (1, 1, '+571', 'completed');
INSERT INTO whatsapp_conversations (phone_number, conversation_summary) VALUES ('+571', 'hola');
"""

# What the boot check leaves: one function for each table, and its triggers lost; tables of its own.
LINEAGE_D = """
ALTER TABLE users DISABLE TRIGGER USER;
DROP VIEW group_statistics, client_call_history, batch_call_statistics;
DROP TRIGGER update_clients_updated_at ON clients; DROP TRIGGER update_groups_updated_at ON groups;
DROP TRIGGER update_users_updated_at ON users; DROP TRIGGER update_uploaded_files_updated_at ON uploaded_files;
DROP TRIGGER update_gcp_documents_updated_at ON gcp_documents; DROP TRIGGER update_batch_calls_updated_at ON batch_calls;
DROP TRIGGER update_call_records_updated_at ON call_records;
DROP TRIGGER update_whatsapp_conversations_updated_at ON whatsapp_conversations;
DROP FUNCTION update_updated_at_column();
CREATE FUNCTION update_agents_updated_at() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.updated_at = now(); RETURN NEW; END';
CREATE TABLE agents (id serial PRIMARY KEY, agent_id varchar(255) NOT NULL UNIQUE, name varchar(255) NOT NULL,
    user_id integer NOT NULL REFERENCES users (id) ON DELETE CASCADE, updated_at timestamp DEFAULT now());
CREATE TRIGGER update_agents_updated_at BEFORE UPDATE ON agents FOR EACH ROW EXECUTE FUNCTION update_agents_updated_at();
INSERT INTO clients (name) VALUES ('a'), ('b');
"""


def copied(tables: list[str]) -> str:
    """What a copy to another server loses: all but columns, primary and foreign keys; sequences stand at 1."""
    lost = (
        "DROP VIEW group_statistics, client_call_history, batch_call_statistics;"
        "DROP FUNCTION update_updated_at_column() CASCADE;"
        "DO $$ DECLARE one record; BEGIN"
        " FOR one IN SELECT conrelid::regclass AS t, conname FROM pg_constraint WHERE connamespace = 'public'::regnamespace"
        "    AND contype IN ('u', 'c') LOOP"
        "   EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', one.t, one.conname); END LOOP;"
        " FOR one IN SELECT indexname FROM pg_indexes WHERE schemaname = 'public' AND indexname LIKE 'idx%' LOOP"
        "   EXECUTE format('DROP INDEX %I', one.indexname); END LOOP; END $$;"
        "INSERT INTO clients (id, name, status) SELECT n, 'c', 'odd' FROM generate_series(3, 9) AS n;"
        "INSERT INTO groups (id, name) VALUES (1, 'Julio'), (2, 'Julio'), (2147483647, 'reserved');"
        "INSERT INTO call_records (id, phone_number) VALUES (1, '1');"
    )
    return lost + "".join(f"ALTER SEQUENCE {table}_id_seq OWNED BY NONE;" for table in tables)
