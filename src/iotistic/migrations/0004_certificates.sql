-- Certificates that the authority issued, and the tokens that devices enrol with. No private key is kept.

CREATE TABLE certificates (
    -- Hexadecimal, lower case, without leading zeros removed: 128 random bits for what we issue.
    serial         text PRIMARY KEY CHECK (serial ~ '^[0-9a-f]{1,40}$'),
    kind           text NOT NULL CHECK (kind IN ('ca', 'broker', 'server', 'device')),
    mac            text CHECK (mac ~ '^[0-9a-f]{12}$'),
    pem            text NOT NULL,
    not_before     timestamptz NOT NULL,
    not_after      timestamptz NOT NULL,
    issued_at      timestamptz NOT NULL DEFAULT now(),
    -- operator, token:<id>, renewal:<serial of the old certificate>, or service.
    issued_by      text NOT NULL,
    revoked_at     timestamptz,
    revoked_reason text,
    CHECK ((kind = 'device') = (mac IS NOT NULL)),
    CHECK ((revoked_at IS NULL) = (revoked_reason IS NULL))
);
-- The list is paged in this order, and asked what expires next.
CREATE INDEX certificates_expiry ON certificates (not_after, serial);
CREATE INDEX certificates_mac ON certificates (mac, not_after) WHERE mac IS NOT NULL;
CREATE INDEX certificates_revoked ON certificates (not_after) WHERE revoked_at IS NOT NULL;

-- A revocation list carries a number that only grows (RFC 5280, 5.2.3).
CREATE SEQUENCE certificate_crl_number;

CREATE TABLE enrolment_tokens (
    id         text PRIMARY KEY CHECK (id ~ '^[0-9a-f]{12}$'),
    -- SHA-256 of the whole token; the token itself is shown once and kept nowhere.
    digest     bytea NOT NULL CHECK (length(digest) = 32),
    label      text NOT NULL DEFAULT '' CHECK (length(label) <= 200),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    -- NULL: as often as one likes until it expires.
    max_uses   integer CHECK (max_uses > 0),
    uses       integer NOT NULL DEFAULT 0 CHECK (uses >= 0 AND (max_uses IS NULL OR uses <= max_uses)),
    revoked_at timestamptz
);
