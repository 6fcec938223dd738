//! A partitioned table whose partitions come, go and are loaded elsewhere, and the types of its columns.

use ddp_tests::Dice;

const DETACH: &str = "ALTER TABLE notes DETACH PARTITION high";
const ATTACH: &str = "ALTER TABLE notes ATTACH PARTITION high FOR VALUES FROM (10) TO (20)";
const MAKE: &str = "CREATE TABLE brief PARTITION OF notes FOR VALUES FROM (20) TO (30)";
const DROP: &str = "DROP TABLE IF EXISTS brief";

/// Changes of rows, through the table or a partition. What is not there for them makes them fail.
pub(crate) fn rows(dice: &mut Dice, text: &str) -> String {
    let (id, other) = (dice.below(24), dice.below(24));
    match dice.below(8) {
        0..=1 => format!(
            "INSERT INTO notes (id, text, mood) VALUES ({id}, {text}, (enum_range(NULL::mood))[{}]) \
             ON CONFLICT (id) DO UPDATE SET text = EXCLUDED.text, mood = EXCLUDED.mood",
            1 + dice.below(3)
        ),
        2 => format!("UPDATE notes SET id = {other} WHERE id = {id}"),
        3 => format!("UPDATE notes SET text = {text} WHERE id % 3 = {}", id % 3),
        4 => format!("UPDATE notes SET place.town = {text} WHERE id = {id}"),
        5 => format!(
            "MERGE INTO notes USING (VALUES ({id}), ({})) AS v (id) ON notes.id = v.id \
             WHEN MATCHED THEN UPDATE SET id = {other}, text = {text}",
            dice.below(24)
        ),
        6 => format!("SELECT move_notes({id}, {other})"),
        _ => format!("DELETE FROM {} WHERE id = {id}", dice.pick(&["notes", "low", "high"])),
    }
}

/// Changes of the catalogs, so that nobody may look between the first and the last of several.
pub(crate) fn tables_or_types(dice: &mut Dice, text: &str) -> String {
    let id = dice.below(10);
    let load = format!("DELETE FROM high; INSERT INTO high VALUES (1{id}, {text})");
    let fill = format!("INSERT INTO notes VALUES (2{id}, {text})");
    let (and, end) = *dice.pick(&[("; ", ""), ("; COMMIT; BEGIN; ", "; COMMIT")]);
    let script = match dice.below(8) {
        0 => [DETACH, &load, ATTACH].join(and),
        1 => DETACH.to_owned(),
        2 => format!("{load}{and}{ATTACH}"),
        3 | 4 => [DROP, MAKE, &fill, DROP].join(and),
        5 => format!("{DROP}{and}{MAKE}{and}{fill}"),
        6 => match dice.below(3) {
            0 => format!("ALTER TYPE mood ADD VALUE IF NOT EXISTS 'm{id}'"),
            1 => "ALTER TYPE mood RENAME VALUE 'calm' TO 'still'".to_owned(),
            _ => "ALTER TYPE mood RENAME VALUE 'still' TO 'calm'".to_owned(),
        },
        _ => match dice.below(3) {
            0 => format!("ALTER TYPE place ADD ATTRIBUTE n{id} integer CASCADE"),
            1 => "ALTER TYPE place RENAME ATTRIBUTE town TO city CASCADE".to_owned(),
            _ => "ALTER TYPE place RENAME ATTRIBUTE city TO town CASCADE".to_owned(),
        },
    };
    script + end
}
