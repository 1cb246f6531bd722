-- Apps by their numbers, templates of targets, and the registries that tags of images are looked up in.

-- Where numbers of apps and services come from; those below are left to whoever numbers by hand.
CREATE SEQUENCE global_app_id_seq MINVALUE 1000;
CREATE SEQUENCE global_service_id_seq MINVALUE 1000;

CREATE TABLE applications (
    app_id         bigint PRIMARY KEY CHECK (app_id > 0),
    name           text NOT NULL CHECK (length(name) BETWEEN 1 AND 128),
    slug           text NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$'),
    description    text NOT NULL DEFAULT '' CHECK (length(description) <= 2000),
    -- JSON text of {services?, rollingUpdate?}: what an app on a device begins with when nothing else is said.
    default_config text NOT NULL DEFAULT '{}',
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL
);

CREATE TABLE target_templates (
    name           text PRIMARY KEY CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$'),
    description    text NOT NULL DEFAULT '' CHECK (length(description) <= 2000),
    newest         integer NOT NULL CHECK (newest > 0),
    -- What devices begin with that come new.
    is_default     boolean NOT NULL DEFAULT false,
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL
);
CREATE UNIQUE INDEX target_templates_default ON target_templates (is_default) WHERE is_default;

-- A version never changes: who filled it in knows what it said.
CREATE TABLE target_template_versions (
    template   text NOT NULL REFERENCES target_templates ON DELETE CASCADE,
    version    integer NOT NULL CHECK (version > 0),
    -- JSON text: {apps, config, options?} with variables in its texts.
    content    text NOT NULL CHECK (octet_length(content) <= 1048576),
    -- JSON text of an object: parameter -> default, null when it has to be given.
    parameters text NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL,
    created_by text NOT NULL,
    PRIMARY KEY (template, version)
);

CREATE TABLE image_registries (
    -- Host, with its port where it is not the usual one, as names of images have it.
    host            text PRIMARY KEY CHECK (length(host) BETWEEN 1 AND 260),
    username        text NOT NULL DEFAULT '' CHECK (length(username) <= 255),
    -- Encrypted (AES-256-GCM, bound to the host): it has to be shown to the registry, so a digest cannot do.
    password_sealed bytea,
    ca_pem          text NOT NULL DEFAULT '' CHECK (length(ca_pem) <= 65536),
    -- Spoken to without TLS.
    is_plain        boolean NOT NULL DEFAULT false,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    CHECK ((username = '') = (password_sealed IS NULL))
);
