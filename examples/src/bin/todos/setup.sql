DO $setup$
BEGIN
    -- Several servers may start at once.
    PERFORM pg_advisory_xact_lock(hashtext('todos setup'));
    IF to_regclass('tasks') IS NOT NULL THEN
        -- Of a version without users.
        IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'tasks'::regclass AND attname = 'owner') THEN
            ALTER TABLE tasks ADD COLUMN owner text;
        END IF;
        RETURN;
    END IF;

    -- Ids as Meteor makes them, so that a plain INSERT works.
    CREATE OR REPLACE FUNCTION todos_random_id() RETURNS text LANGUAGE sql VOLATILE AS $$
        SELECT string_agg(substr(letters, 1 + floor(random() * length(letters))::int, 1), '')
        FROM generate_series(1, 17),
             (VALUES ('23456789ABCDEFGHJKLMNPQRSTWXYZabcdefghijkmnopqrstuvwxyz')) AS v (letters)
    $$;

    CREATE TABLE tasks (
        id text PRIMARY KEY DEFAULT todos_random_id(),
        list_id text DEFAULT 'home',
        text text,
        checked boolean NOT NULL DEFAULT false,
        created_at timestamptz NOT NULL DEFAULT now(),
        -- The id of the user whose task it is; NULL if it is everybody's.
        owner text
    );

    INSERT INTO tasks (list_id, text) VALUES
        ('home', 'Change this row with psql and watch'),
        ('home', 'Open a second window beside this one'),
        ('work', 'Point a Meteor app at this server');
END
$setup$;
