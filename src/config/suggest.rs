//! "Did you mean": what someone who wrote something unknown may have meant.

/// The candidate nearest to `word`, if it is near enough to be a slip.
///
/// Near enough is a third of the longer word in edits where a swap of neighbours counts as one
/// (so `ssh` tolerates one, `monitoring` three), or the same text but for case and `-` and `_`.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = fold(word);
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let other = fold(candidate);
            let longer = folded.chars().count().max(other.chars().count());
            // Words of absurd length are no slip, and the distance costs their product.
            if longer > 200 {
                return None;
            }
            let distance = strsim::damerau_levenshtein(&folded, &other);
            (distance * 3 <= longer).then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// A hint for an unknown `word`: the nearest candidate, or all of them.
pub(crate) fn hint<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    match nearest(word, candidates.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known: {}", list(candidates)),
    }
}

/// The names in backticks, with commas; many are cut, as nobody reads a hundred.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const MOST: usize = 12;
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.len().checked_sub(MOST) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..MOST].join(", ")),
    }
}

fn fold(word: &str) -> String {
    word.to_lowercase().replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised() {
        let known = ["ssh", "monitoring", "server_name", "zone", "become"];
        let check = |word: &str, expected: Option<&str>| {
            assert_eq!(nearest(word, known), expected, "{word}");
        };
        check("monitorng", Some("monitoring"));
        check("shs", Some("ssh"));
        check("server-name", Some("server_name"));
        check("ServerName", Some("server_name"));
        check("Zone", Some("zone"));
        check("port", None);
        check("", None);
        check(&"x".repeat(10_000), None);
    }

    #[test]
    fn hints_name_the_nearest_or_all() {
        assert_eq!(hint("n2", ["n1"]), "known: `n1`");
        assert_eq!(hint("prodd", ["prod", "dev"]), "did you mean `prod`?");
        let many: Vec<String> = (0..14).map(|n| format!("host-{n}")).collect();
        assert!(list(many.iter().map(String::as_str)).ends_with("`host-11` and 2 more"));
    }
}
