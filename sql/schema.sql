-- The schema of the IA-Calls database: nine tables, their indexes, the updated_at
-- triggers and three views. `iacalls db init` applies it inside one transaction.
-- It only creates: there is no DROP, no OR REPLACE and no IF NOT EXISTS, so that it
-- can never destroy or silently skip anything; a database that already holds one of
-- these objects makes the whole transaction fail.
-- Timestamps carry no time zone: the application writes them as they are.

-- Users --------------------------------------------------------------------------

CREATE TABLE public.users (
    id          serial PRIMARY KEY,
    username    varchar(255) NOT NULL UNIQUE,
    email       varchar(255) NOT NULL UNIQUE,
    password    varchar(255) NOT NULL,
    first_name  varchar(255),
    last_name   varchar(255),
    role        varchar(50) DEFAULT 'user' CHECK (role IN ('admin', 'user', 'agent')),
    is_active   boolean DEFAULT true,
    time        timestamp,           -- when the account expires; NULL means never
    agent_id    varchar(255),
    created_at  timestamp DEFAULT now(),
    updated_at  timestamp DEFAULT now()
);

CREATE INDEX idx_users_email     ON public.users (email);
CREATE INDEX idx_users_username  ON public.users (username);
CREATE INDEX idx_users_is_active ON public.users (is_active);
CREATE INDEX idx_users_role      ON public.users (role);
CREATE INDEX idx_users_agent_id  ON public.users (agent_id);

COMMENT ON TABLE  public.users          IS 'People who may log in, with their roles and permissions';
COMMENT ON COLUMN public.users.agent_id IS 'The ElevenLabs agent that belongs to this user';

-- Clients: the people to be called -------------------------------------------------

CREATE TABLE public.clients (
    id          serial PRIMARY KEY,
    external_id varchar(255),
    name        varchar(255) NOT NULL,
    phone       varchar(50),
    email       varchar(255),
    address     text,
    category    varchar(100),
    review      text,
    status      varchar(50) DEFAULT 'pending'
                CHECK (status IN ('pending', 'contacted', 'completed', 'cancelled')),
    metadata    jsonb,
    is_active   boolean DEFAULT true,
    created_at  timestamp DEFAULT now(),
    updated_at  timestamp DEFAULT now()
);

CREATE INDEX idx_clients_external_id ON public.clients (external_id);
CREATE INDEX idx_clients_phone       ON public.clients (phone);
CREATE INDEX idx_clients_email       ON public.clients (email);
CREATE INDEX idx_clients_status      ON public.clients (status);
CREATE INDEX idx_clients_is_active   ON public.clients (is_active);
CREATE INDEX idx_clients_category    ON public.clients (category);

COMMENT ON TABLE public.clients IS 'People to be called; one phone may occur more than once';

-- Groups: the campaigns --------------------------------------------------------------

CREATE TABLE public.groups (
    id                     serial PRIMARY KEY,
    name                   varchar(255) NOT NULL UNIQUE,
    description            text,
    prompt                 text,
    color                  varchar(20) DEFAULT '#3B82F6',
    favorite               boolean DEFAULT false,
    is_active              boolean DEFAULT true,
    created_by             integer REFERENCES public.users (id) ON DELETE SET NULL,
    "created-by"           varchar(255),
    idioma                 varchar(10) DEFAULT 'es',
    variables              jsonb DEFAULT '{}',
    batch_id               varchar(255),
    batch_status           varchar(50) DEFAULT 'none'
                           CHECK (batch_status IN ('none', 'pending', 'in_progress', 'completed', 'failed')),
    batch_started_at       timestamp,
    batch_completed_at     timestamp,
    batch_total_recipients integer DEFAULT 0,
    batch_completed_calls  integer DEFAULT 0,
    batch_failed_calls     integer DEFAULT 0,
    batch_metadata         jsonb DEFAULT '{}',
    prefix                 varchar(10) DEFAULT '+57',
    selected_country_code  varchar(5) DEFAULT 'CO',
    first_message          text,
    phone_number_id        varchar(255),
    created_at             timestamp DEFAULT now(),
    updated_at             timestamp DEFAULT now()
);

CREATE INDEX idx_groups_name         ON public.groups (name);
CREATE INDEX idx_groups_created_by   ON public.groups (created_by);
CREATE INDEX idx_groups_is_active    ON public.groups (is_active);
CREATE INDEX idx_groups_batch_id     ON public.groups (batch_id);
CREATE INDEX idx_groups_batch_status ON public.groups (batch_status);
CREATE INDEX idx_groups_favorite     ON public.groups (favorite);

COMMENT ON TABLE  public.groups                 IS 'Campaigns: a set of clients with its prompt and the progress of its calls';
COMMENT ON COLUMN public.groups.batch_id        IS 'The batch call now active at ElevenLabs';
COMMENT ON COLUMN public.groups.phone_number_id IS 'The ElevenLabs phone number the campaign calls from';

-- Which client is in which group -----------------------------------------------------

CREATE TABLE public.client_groups (
    id          serial PRIMARY KEY,
    client_id   integer NOT NULL REFERENCES public.clients (id) ON DELETE CASCADE,
    group_id    integer NOT NULL REFERENCES public.groups (id) ON DELETE CASCADE,
    assigned_by integer REFERENCES public.users (id) ON DELETE SET NULL,
    assigned_at timestamp DEFAULT now(),
    UNIQUE (client_id, group_id)
);

CREATE INDEX idx_client_groups_client_id   ON public.client_groups (client_id);
CREATE INDEX idx_client_groups_group_id    ON public.client_groups (group_id);
CREATE INDEX idx_client_groups_assigned_by ON public.client_groups (assigned_by);

COMMENT ON TABLE public.client_groups IS 'Membership of clients in groups, many to many';

-- Files ------------------------------------------------------------------------------

CREATE TABLE public.uploaded_files (
    id            serial PRIMARY KEY,
    original_name varchar(500) NOT NULL,
    file_name     varchar(500) NOT NULL UNIQUE,
    bucket_url    text,
    public_url    text,
    download_url  text,
    file_size     bigint,
    content_type  varchar(100),
    uploaded_by   integer REFERENCES public.users (id) ON DELETE SET NULL,
    group_id      integer REFERENCES public.groups (id) ON DELETE SET NULL,
    metadata      jsonb DEFAULT '{}',
    is_active     boolean DEFAULT true,
    created_at    timestamp DEFAULT now(),
    updated_at    timestamp DEFAULT now()
);

CREATE INDEX idx_uploaded_files_file_name   ON public.uploaded_files (file_name);
CREATE INDEX idx_uploaded_files_uploaded_by ON public.uploaded_files (uploaded_by);
CREATE INDEX idx_uploaded_files_group_id    ON public.uploaded_files (group_id);
CREATE INDEX idx_uploaded_files_is_active   ON public.uploaded_files (is_active);

COMMENT ON TABLE public.uploaded_files IS 'Spreadsheets and other files that users uploaded';

CREATE TABLE public.gcp_documents (
    id            serial PRIMARY KEY,
    file_name     varchar(500) NOT NULL,
    original_name varchar(500) NOT NULL,
    bucket_url    text NOT NULL,
    public_url    text,
    download_url  text,
    file_size     bigint,
    content_type  varchar(100),
    document_type varchar(100) DEFAULT 'general',
    group_id      integer REFERENCES public.groups (id) ON DELETE SET NULL,
    uploaded_by   integer REFERENCES public.users (id) ON DELETE SET NULL,
    metadata      jsonb DEFAULT '{}',
    created_at    timestamp DEFAULT now(),
    updated_at    timestamp DEFAULT now()
);

CREATE INDEX idx_gcp_documents_file_name     ON public.gcp_documents (file_name);
CREATE INDEX idx_gcp_documents_group_id      ON public.gcp_documents (group_id);
CREATE INDEX idx_gcp_documents_uploaded_by   ON public.gcp_documents (uploaded_by);
CREATE INDEX idx_gcp_documents_document_type ON public.gcp_documents (document_type);

COMMENT ON TABLE public.gcp_documents IS 'Documents kept in Google Cloud Storage';

-- Calls ------------------------------------------------------------------------------

CREATE TABLE public.batch_calls (
    id               serial PRIMARY KEY,
    batch_id         varchar(255) NOT NULL UNIQUE,
    group_id         integer REFERENCES public.groups (id) ON DELETE SET NULL,
    user_id          integer REFERENCES public.users (id) ON DELETE SET NULL,
    agent_id         varchar(255),
    call_name        varchar(255),
    status           varchar(50) DEFAULT 'pending'
                     CHECK (status IN ('pending', 'in_progress', 'completed', 'failed', 'cancelled')),
    total_recipients integer DEFAULT 0,
    completed_calls  integer DEFAULT 0,
    failed_calls     integer DEFAULT 0,
    started_at       timestamp,
    completed_at     timestamp,
    metadata         jsonb DEFAULT '{}',
    created_at       timestamp DEFAULT now(),
    updated_at       timestamp DEFAULT now()
);

CREATE INDEX idx_batch_calls_batch_id ON public.batch_calls (batch_id);
CREATE INDEX idx_batch_calls_group_id ON public.batch_calls (group_id);
CREATE INDEX idx_batch_calls_user_id  ON public.batch_calls (user_id);
CREATE INDEX idx_batch_calls_status   ON public.batch_calls (status);
CREATE INDEX idx_batch_calls_agent_id ON public.batch_calls (agent_id);

COMMENT ON TABLE public.batch_calls IS 'Batch calls placed through ElevenLabs, with their counters';

CREATE TABLE public.call_records (
    id                 serial PRIMARY KEY,
    batch_call_id      integer REFERENCES public.batch_calls (id) ON DELETE CASCADE,
    client_id          integer REFERENCES public.clients (id) ON DELETE SET NULL,
    phone_number       varchar(50) NOT NULL,
    recipient_id       varchar(255),
    conversation_id    varchar(255),
    status             varchar(50) DEFAULT 'pending'
                       CHECK (status IN ('pending', 'initiated', 'ringing', 'in_progress', 'completed', 'finished',
                                         'ended', 'failed', 'busy', 'no_answer', 'cancelled')),
    call_duration_secs integer,
    transcript_summary text,
    full_transcript    jsonb,
    audio_url          text,
    audio_file_name    varchar(500),
    audio_size         bigint,
    audio_content_type varchar(100),
    audio_uploaded_at  timestamp,
    call_started_at    timestamp,
    call_ended_at      timestamp,
    created_at         timestamp DEFAULT now(),
    updated_at         timestamp DEFAULT now()
);

-- No index on call_ended_at or updated_at: polling rewrites them every few seconds,
-- and an index on either turns those updates from heap-only to full ones.
CREATE INDEX idx_call_records_batch_call_id   ON public.call_records (batch_call_id);
CREATE INDEX idx_call_records_client_id       ON public.call_records (client_id);
CREATE INDEX idx_call_records_phone_number    ON public.call_records (phone_number);
CREATE INDEX idx_call_records_recipient_id    ON public.call_records (recipient_id);
CREATE INDEX idx_call_records_conversation_id ON public.call_records (conversation_id);
CREATE INDEX idx_call_records_status          ON public.call_records (status);

COMMENT ON TABLE  public.call_records                 IS 'One row per call: its outcome, transcript and recording';
COMMENT ON COLUMN public.call_records.conversation_id IS 'The ElevenLabs conversation, by which WhatsApp goes on with it';

-- WhatsApp ---------------------------------------------------------------------------

CREATE TABLE public.whatsapp_conversations (
    id                   serial PRIMARY KEY,
    phone_number         varchar(50) NOT NULL,
    client_name          varchar(255),
    conversation_summary text,
    message_sent         jsonb,
    message_received     jsonb,
    status               varchar(50) DEFAULT 'pending'
                         CHECK (status IN ('pending', 'sent', 'delivered', 'read', 'failed', 'replied')),
    vonage_message_id    varchar(255),
    twilio_message_id    varchar(255),
    error_message        text,
    sent_at              timestamp,
    received_at          timestamp,
    created_at           timestamp DEFAULT now(),
    updated_at           timestamp DEFAULT now()
);

CREATE INDEX idx_whatsapp_conversations_phone_number      ON public.whatsapp_conversations (phone_number);
CREATE INDEX idx_whatsapp_conversations_status            ON public.whatsapp_conversations (status);
CREATE INDEX idx_whatsapp_conversations_vonage_message_id ON public.whatsapp_conversations (vonage_message_id);
CREATE INDEX idx_whatsapp_conversations_twilio_message_id ON public.whatsapp_conversations (twilio_message_id);

COMMENT ON TABLE  public.whatsapp_conversations IS 'WhatsApp messages that follow up a call';
COMMENT ON COLUMN public.whatsapp_conversations.conversation_summary IS 'What the call before it was about';

-- updated_at -------------------------------------------------------------------------

CREATE FUNCTION public.update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END;
$$;

CREATE TRIGGER update_users_updated_at
    BEFORE UPDATE ON public.users FOR EACH ROW EXECUTE FUNCTION public.update_updated_at_column();
CREATE TRIGGER update_clients_updated_at
    BEFORE UPDATE ON public.clients FOR EACH ROW EXECUTE FUNCTION public.update_updated_at_column();
CREATE TRIGGER update_groups_updated_at
    BEFORE UPDATE ON public.groups FOR EACH ROW EXECUTE FUNCTION public.update_updated_at_column();
CREATE TRIGGER update_uploaded_files_updated_at
    BEFORE UPDATE ON public.uploaded_files FOR EACH ROW EXECUTE FUNCTION public.update_updated_at_column();
CREATE TRIGGER update_gcp_documents_updated_at
    BEFORE UPDATE ON public.gcp_documents FOR EACH ROW EXECUTE FUNCTION public.update_updated_at_column();
CREATE TRIGGER update_batch_calls_updated_at
    BEFORE UPDATE ON public.batch_calls FOR EACH ROW EXECUTE FUNCTION public.update_updated_at_column();
CREATE TRIGGER update_call_records_updated_at
    BEFORE UPDATE ON public.call_records FOR EACH ROW EXECUTE FUNCTION public.update_updated_at_column();
CREATE TRIGGER update_whatsapp_conversations_updated_at
    BEFORE UPDATE ON public.whatsapp_conversations FOR EACH ROW EXECUTE FUNCTION public.update_updated_at_column();

-- Views ------------------------------------------------------------------------------

-- total_clients counts inactive clients too; the counters are those kept on groups.
-- Every column is grouped by name: by the primary key alone the view would depend on
-- that constraint, and a dump of it would have to be restored in two steps.
CREATE VIEW public.group_statistics AS
SELECT campaign.id,
       campaign.name,
       campaign.batch_status,
       count(DISTINCT membership.client_id) AS total_clients,
       campaign.batch_total_recipients,
       campaign.batch_completed_calls,
       campaign.batch_failed_calls,
       CASE WHEN campaign.batch_total_recipients > 0
            THEN round(campaign.batch_completed_calls::numeric / campaign.batch_total_recipients * 100, 2)
            ELSE 0
       END AS success_rate,
       campaign.created_at,
       campaign.batch_started_at,
       campaign.batch_completed_at
  FROM public.groups AS campaign
  LEFT JOIN public.client_groups AS membership ON membership.group_id = campaign.id
 WHERE campaign.is_active
 GROUP BY campaign.id, campaign.name, campaign.batch_status, campaign.batch_total_recipients,
          campaign.batch_completed_calls, campaign.batch_failed_calls, campaign.created_at,
          campaign.batch_started_at, campaign.batch_completed_at;

CREATE VIEW public.client_call_history AS
SELECT client.id AS client_id,
       client.name AS client_name,
       client.phone AS client_phone,
       call.id AS call_record_id,
       call.status AS call_status,
       call.call_duration_secs,
       call.transcript_summary,
       call.call_started_at,
       call.call_ended_at,
       batch.batch_id,
       batch.call_name AS batch_name,
       campaign.name AS group_name
  FROM public.clients AS client
  LEFT JOIN public.call_records AS call ON call.client_id = client.id
  LEFT JOIN public.batch_calls AS batch ON batch.id = call.batch_call_id
  LEFT JOIN public.groups AS campaign ON campaign.id = batch.group_id
 WHERE client.is_active
 ORDER BY call.call_started_at DESC;

CREATE VIEW public.batch_call_statistics AS
SELECT batch.id,
       batch.batch_id,
       batch.call_name,
       batch.status,
       batch.total_recipients,
       batch.completed_calls,
       batch.failed_calls,
       CASE WHEN batch.total_recipients > 0
            THEN round(batch.completed_calls::numeric / batch.total_recipients * 100, 2)
            ELSE 0
       END AS completion_rate,
       batch.started_at,
       batch.completed_at,
       EXTRACT(epoch FROM batch.completed_at - batch.started_at) / 60 AS duration_minutes,
       campaign.name AS group_name,
       person.username AS user_name
  FROM public.batch_calls AS batch
  LEFT JOIN public.groups AS campaign ON campaign.id = batch.group_id
  LEFT JOIN public.users AS person ON person.id = batch.user_id
 ORDER BY batch.started_at DESC;
