-- People, their sessions, and API keys. No secret stands here in a form that could be presented.

CREATE TABLE users (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    username      text NOT NULL CHECK (length(username) BETWEEN 1 AND 64 AND position('@' IN username) = 0),
    email         text NOT NULL CHECK (length(email) BETWEEN 3 AND 254 AND position('@' IN email) > 1),
    full_name     text NOT NULL DEFAULT '' CHECK (length(full_name) <= 200),
    role          text NOT NULL CHECK (role IN ('owner', 'admin', 'manager', 'operator', 'viewer')),
    -- argon2id in the PHC format; bcrypt of accounts that were taken over, until their first login.
    password_hash text NOT NULL CHECK (password_hash ~ '^\$(argon2id|2[abxy])\$'),
    is_active     boolean NOT NULL DEFAULT true,
    -- The password was set by somebody else: until it is changed, nothing but that is allowed.
    must_change_password boolean NOT NULL DEFAULT false,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    last_login_at timestamptz
);
-- Two names that differ in capitals are one name to people. A name holds no @, so it is never another's address.
CREATE UNIQUE INDEX users_username ON users (lower(username));
CREATE UNIQUE INDEX users_email ON users (lower(email));

-- One login. All refresh tokens that descend from it are its family, and end with it.
CREATE TABLE user_sessions (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id      uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at   timestamptz NOT NULL,
    last_used_at timestamptz NOT NULL,
    -- Moves with every refresh.
    expires_at   timestamptz NOT NULL,
    ended_at     timestamptz,
    ended_reason text CHECK (ended_reason IN ('logout', 'reuse', 'password', 'deactivated', 'revoked')),
    address      text NOT NULL DEFAULT '',
    user_agent   text NOT NULL DEFAULT '' CHECK (length(user_agent) <= 300),
    CHECK ((ended_at IS NULL) = (ended_reason IS NULL))
);
CREATE INDEX user_sessions_open ON user_sessions (user_id) WHERE ended_at IS NULL;
CREATE INDEX user_sessions_expiry ON user_sessions (expires_at);

CREATE TABLE refresh_tokens (
    id         text PRIMARY KEY CHECK (id ~ '^[0-9a-f]{24}$'),
    -- SHA-256 of the whole token, which is 256 random bits: a slow hash would protect nothing more.
    digest     bytea NOT NULL CHECK (length(digest) = 32),
    session_id uuid NOT NULL REFERENCES user_sessions (id) ON DELETE CASCADE,
    issued_at  timestamptz NOT NULL,
    -- Kept after its use: presenting it again is how theft is noticed.
    used_at    timestamptz
);
-- At most one token of a session can be used; whoever makes a second one has made a mistake.
CREATE UNIQUE INDEX refresh_tokens_usable ON refresh_tokens (session_id) WHERE used_at IS NULL;
CREATE INDEX refresh_tokens_session ON refresh_tokens (session_id);

CREATE TABLE api_keys (
    id           text PRIMARY KEY CHECK (id ~ '^[0-9a-f]{12}$'),
    digest       bytea NOT NULL CHECK (length(digest) = 32),
    name         text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    -- A key may never do more than its maker may do now, and ends with the maker's account.
    user_id      uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    scopes       text[] NOT NULL CHECK (cardinality(scopes) > 0),
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz,
    last_used_at timestamptz,
    revoked_at   timestamptz
);
CREATE INDEX api_keys_user ON api_keys (user_id);
