//! "Did you mean": the name that somebody probably wanted to write.

/// `; did you mean "..."?` with the nearest of `known`, or nothing if none is near.
pub(super) fn near<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let best = known.map(|known| (distance(name, known), known)).min_by_key(|(far, _)| *far);
    match best {
        Some((far, known)) if far <= name.len().min(known.len()) / 4 + 1 => {
            format!("; did you mean \"{known}\"?")
        }
        Some(_) | None => String::new(),
    }
}

/// How many letters must be inserted, deleted or replaced; names of the same words in another order
/// are one apart.
fn distance(one: &str, other: &str) -> usize {
    let words = |name: &str| {
        let mut words: Vec<_> = name.split(['_', '.', '-']).map(str::to_ascii_lowercase).collect();
        words.sort();
        words
    };
    if words(one) == words(other) {
        return 1;
    }
    let other: Vec<char> = other.chars().collect();
    // Row by row of the usual table: `row[i]` is the distance to the first `i` letters of `other`.
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, letter) in one.chars().enumerate() {
        let mut corner = line;
        let mut left = line + 1;
        row[0] = left;
        for (column, wanted) in other.iter().enumerate() {
            let replaced = corner + usize::from(letter != *wanted);
            corner = row[column + 1];
            left = replaced.min(corner + 1).min(left + 1);
            row[column + 1] = left;
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_suggested_and_a_far_one_is_not() {
        let known = ["max_total_bytes", "listen", "limits.max_streams"];
        let check = |name: &str, expected: Option<&str>| {
            let expected =
                expected.map_or(String::new(), |near| format!("; did you mean \"{near}\"?"));
            assert_eq!(near(name, known.into_iter()), expected, "{name}");
        };
        check("lisen", Some("listen"));
        check("total_bytes_max", Some("max_total_bytes"));
        check("limits.max_stream", Some("limits.max_streams"));
        check("colour", None);
        check("", None);
    }

    #[test]
    fn the_distance_is_the_number_of_changed_letters() {
        let check = |one, other, expected| assert_eq!(distance(one, other), expected);
        check("kitten", "sitting", 3);
        check("", "abc", 3);
        check("abc", "", 3);
        check("abc", "abc", 1); // the same words; only unknown names are ever compared
    }
}
