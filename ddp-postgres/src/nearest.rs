//! What somebody may have meant by a name that does not exist.

/// Longer names are not compared: it takes time in proportion to the product of their lengths.
const LETTERS_MAX: usize = 64;

/// The name that differs least, if it is no more than a slip: other case, camel or snake case, or up
/// to a third of the letters missing, added, changed or swapped with their neighbour.
pub(crate) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = folded(name);
    let distances = names.filter_map(|other| {
        let other_letters = folded(other);
        let longest = wanted.len().max(other_letters.len());
        if longest > LETTERS_MAX {
            return None;
        }
        let distance = distance(&wanted, &other_letters);
        (distance * 3 <= longest).then_some((distance, other))
    });
    distances.min_by_key(|(distance, _)| *distance).map(|(_, other)| other)
}

/// The remark that asks for it, or nothing.
pub(crate) fn did_you_mean<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> String {
    nearest(name, names).map_or_else(String::new, |other| format!("; did you mean {other:?}?"))
}

fn folded(name: &str) -> Vec<char> {
    name.chars().filter(|letter| *letter != '_').flat_map(char::to_lowercase).collect()
}

/// How many letters must be added, removed, changed or swapped with their neighbour.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, other) in b.iter().enumerate() {
            let changed = last[j] + usize::from(letter != other);
            let mut least = changed.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *letter == b[j - 1] && a[i - 1] == *other {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognized() {
        let names = ["_id", "title", "listId", "created_at", "done"];
        for (name, meant) in [
            ("tilte", Some("title")),
            ("titel", Some("title")),
            ("Title", Some("title")),
            ("tite", Some("title")),
            ("list_id", Some("listId")),
            ("createdAt", Some("created_at")),
            ("id", Some("_id")),
            ("don", Some("done")),
            ("checked", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, names.into_iter()), meant, "{name}");
        }
        assert_eq!(nearest(&"x".repeat(100_000), names.into_iter()), None);
    }
}
