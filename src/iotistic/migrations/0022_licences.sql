-- The licence of an installation: the signed token itself, never what somebody once read out of it.
-- It is verified anew at each load, so a row that was changed by hand allows nothing.

CREATE TABLE licence_token (
    -- One row at most.
    id           boolean PRIMARY KEY DEFAULT true CHECK (id),
    token        text NOT NULL CHECK (length(token) <= 16384),
    installed_at timestamptz NOT NULL,
    installed_by text NOT NULL,
    -- When the seller last said that it is in force; counts only where the seller is asked at all.
    confirmed_at timestamptz NOT NULL
);
