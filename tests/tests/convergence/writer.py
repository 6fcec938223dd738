"""Writes to the tables of the convergence test as a Django application would, until its input ends."""

import random
import select
import sys
import time

import psycopg

url, seed, pause = sys.argv[1:]
chance = random.Random(seed)


def change(cursor):
    task, other, rank = f"t{chance.randrange(60)}", f"t{chance.randrange(60)}", chance.randrange(6)
    text = chance.choice([None, "Zürich", "abc", "Mm", "d'Artagnan", "x" * chance.randrange(9000)])
    match chance.randrange(9):
        case 0 | 1:
            cursor.execute("UPDATE tasks SET text = %s, rank = %s WHERE id = %s", (text, rank, task))
            if cursor.rowcount == 0:
                insert = "INSERT INTO tasks (id, list_id, text, rank) VALUES (%s, %s, %s, %s)"
                cursor.execute(insert, (task, chance.choice("abc"), text, rank))
        case 2:
            cursor.execute("SELECT id FROM tasks WHERE id IN (%s, %s) ORDER BY id FOR UPDATE", (task, other))
            for (id,) in cursor.fetchall():
                cursor.execute("UPDATE tasks SET checked = NOT checked WHERE id = %s", (id,))
        case 3:
            cursor.execute("DELETE FROM tasks WHERE id = ANY (%s)", ([task, other],))
        case 4:
            cursor.executemany("UPDATE tasks SET rank = %s WHERE id = %s", [(rank, task), (rank + 1, other)])
        case 5:
            number, title = chance.randrange(8), text or "untitled"
            cursor.execute("UPDATE lists SET title = %s WHERE id = %s", (title, number))
            if cursor.rowcount == 0:
                cursor.execute("INSERT INTO lists VALUES (%s, %s)", (number, title))
        case 6:
            with cursor.copy("COPY lists (id, title) FROM STDIN") as copy:
                copy.write_row((100 + chance.randrange(20), text or ""))
        case 7:
            number = chance.randrange(20)
            cursor.execute("UPDATE notes SET text = %s WHERE id = %s", (text, number))
            if cursor.rowcount == 0:
                cursor.execute("INSERT INTO notes (id, text) VALUES (%s, %s)", (number, text))
        case 8:
            setting = chance.choice([
                ("lc_monetary", "de_DE.UTF-8"), ("bytea_output", "escape"), ("search_path", "odd, public"),
                ("IntervalStyle", "sql_standard"), ("extra_float_digits", "-5"), ("TimeZone", "Asia/Kolkata"),
            ])
            cursor.execute("SELECT set_config(%s, %s, %s)", (*setting, chance.random() < 0.5))


def transaction(connection):
    """An atomic block with blocks inside, some of them rolled back."""
    with connection.transaction():
        for _ in range(chance.randrange(1, 4)):
            try:
                with connection.transaction(), connection.cursor() as cursor:
                    change(cursor)
                    if chance.random() < 0.2:
                        raise psycopg.Rollback
            except psycopg.errors.IntegrityError:
                pass
        if chance.random() < 0.1:
            raise psycopg.Rollback


count = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            while not select.select([sys.stdin], [], [], chance.random() * int(pause) / 400)[0]:
                try:
                    transaction(connection)
                    count += 1
                except (psycopg.errors.DeadlockDetected, psycopg.errors.IntegrityError):
                    pass
    except (psycopg.OperationalError, psycopg.Rollback):
        time.sleep(0.02)  # The database is being restarted, perhaps during a rollback.
print(count)
