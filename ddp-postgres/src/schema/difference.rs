//! What has changed about a table, for the log.

use super::layout::{Column, Layout};

/// How many things are named.
const NAMED_MAX: usize = 8;

impl Layout {
    /// What is different afterwards, in words.
    pub(crate) fn difference(&self, after: &Self) -> String {
        let mut words = Vec::new();
        for column in &after.columns {
            match self.columns.iter().find(|before| before.name == column.name) {
                None => words.push(format!("new column {:?}", column.name)),
                Some(before) => words.extend(column_difference(before, column)),
            }
        }
        let is_gone = |before: &&Column| !after.columns.iter().any(|c| c.name == before.name);
        words.extend(
            self.columns.iter().filter(is_gone).map(|c| format!("no column {:?} any more", c.name)),
        );
        let key = |layout: &Self| -> Vec<String> {
            layout.key_columns().map(|column| column.name.clone()).collect()
        };
        if key(self) != key(after) {
            words.push(format!("the key is now {}", key(after).join(", ")));
        }
        let (before, now) = (&self.family, &after.family);
        for (what, before, now) in
            [("part", &before.below, &now.below), ("parent", &before.above, &now.above)]
        {
            let new = now.iter().filter(|name| !before.contains(name));
            words.extend(new.map(|name| format!("new {what} {name}")));
            let gone = before.iter().filter(|name| !now.contains(name));
            words.extend(gone.map(|name| format!("no {what} {name} any more")));
        }
        if before.has_temporary != now.has_temporary {
            let has = if now.has_temporary { "a" } else { "no" };
            words.push(format!("{has} temporary child"));
        }
        if self.row_security != after.row_security {
            let which = if after.row_security { "apply" } else { "do not apply" };
            words.push(format!("policies {which} to this server's role"));
        }
        let others = words.len().saturating_sub(NAMED_MAX);
        words.truncate(NAMED_MAX);
        if others > 0 {
            words.push(format!("{others} more"));
        }
        if words.is_empty() {
            // They are not part of a description.
            words.push("its triggers, or what its documents depend on".to_owned());
        }
        words.join("; ")
    }
}

fn column_difference(before: &Column, now: &Column) -> Option<String> {
    let (name, type_name) = (&now.name, &now.type_name);
    if before.type_name != now.type_name {
        return Some(format!("column {name:?} is now {type_name}"));
    }
    if before.nullable != now.nullable {
        let which = if now.nullable { "may" } else { "may not" };
        return Some(format!("column {name:?} {which} be null"));
    }
    (before != now).then(|| format!("column {name:?} compares or is written in another way"))
}

#[cfg(test)]
mod tests {
    use crate::schema::fixture::layout;
    use crate::value::ValueKind;

    #[test]
    fn what_has_changed_is_named() {
        let id = ("id", ValueKind::Integer);
        let before = layout(&[id.clone(), ("a", ValueKind::Text)], false);
        let mut after = layout(&[id.clone(), ("b", ValueKind::Text)], false);
        after.family.below.push("\"public\".\"low\"".to_owned());
        assert_eq!(
            before.difference(&after),
            "new column \"b\"; no column \"a\" any more; new part \"public\".\"low\""
        );
        assert_eq!(before.difference(&before), "its triggers, or what its documents depend on");
        let names: Vec<String> = (0..20).map(|number| format!("c{number}")).collect();
        let many: Vec<_> = std::iter::once(id)
            .chain(names.iter().map(|name| (name.as_str(), ValueKind::Text)))
            .collect();
        assert!(before.difference(&layout(&many, false)).ends_with("; 13 more"));
    }
}
