//! What the schema says about itself in its comments.

use prost_reflect::FileDescriptor;

use crate::gateway::refusal::http_of_name;

/// A comment taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Comment {
    /// Its first sentence, without the full stop.
    pub(super) summary: String,
    /// The whole, with a blank line between paragraphs.
    pub(super) text: String,
}

/// The comment at `path` of a file, which is empty if there is none.
pub(super) fn comment(file: &FileDescriptor, path: &[i32]) -> Comment {
    let info = file.file_descriptor_proto().source_code_info.as_ref();
    let found = info.and_then(|info| info.location.iter().find(|location| location.path == path));
    read(found.map_or("", |location| location.leading_comments()))
}

fn read(comment: &str) -> Comment {
    let mut paragraphs = vec![String::new()];
    for line in comment.lines().map(str::trim) {
        match (line, paragraphs.last_mut()) {
            ("", _) => paragraphs.push(String::new()),
            (line, Some(last)) if !last.is_empty() => last.extend([" ", line]),
            (line, _) => {
                paragraphs.pop();
                paragraphs.push(line.to_owned());
            }
        }
    }
    paragraphs.retain(|paragraph| !paragraph.is_empty());
    let first = paragraphs.first().map(String::as_str).unwrap_or_default();
    let summary = first.split_once(". ").map_or(first, |(sentence, _)| sentence);
    Comment { summary: summary.trim_end_matches('.').to_owned(), text: paragraphs.join("\n\n") }
}

/// The codes of gRPC that a comment names behind "Errors:", each with what is said about it: its
/// reasons in parentheses, and in words when it comes.
pub(super) fn errors(text: &str) -> Vec<(String, String)> {
    let Some((_, list)) = text.split_once("Errors:") else { return Vec::new() };
    let list = list.split("\n\n").next().unwrap_or_default();
    let is_code = |word: &str| word.len() > 4 && http_of_name(word).is_some();
    let mut found: Vec<(String, String)> = Vec::new();
    // In parentheses there are reasons, and one of them is called as a code is.
    let mut depth = 0_usize;
    for word in list.split_whitespace() {
        let bare = word.trim_end_matches([',', ';', '.']);
        if depth == 0 && is_code(bare) {
            found.push((bare.to_owned(), String::new()));
        } else if let Some((_, said)) = found.last_mut() {
            said.extend([if said.is_empty() { "" } else { " " }, word]);
        }
        depth += word.matches('(').count();
        depth = depth.saturating_sub(word.matches(')').count());
    }
    for (_, said) in &mut found {
        said.truncate(said.trim_end_matches([',', ';', '.']).len());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_has_a_summary_and_paragraphs() {
        let comment = read(" Reads one. It is\n cheap.\n\n Errors: none.\n");
        assert_eq!(comment.summary, "Reads one");
        assert_eq!(comment.text, "Reads one. It is cheap.\n\nErrors: none.");
        assert_eq!(read(""), Comment::default());
    }

    #[test]
    fn errors_are_found_with_their_reasons() {
        let check = |text: &str, expected: &[(&str, &str)]| {
            let found = errors(text);
            let found: Vec<_> = found.iter().map(|(code, said)| (&**code, &**said)).collect();
            assert_eq!(found, expected, "{text}");
        };
        check("Nothing.", &[]);
        check(
            "It does.\n\nErrors: NOT_FOUND (A); RESOURCE_EXHAUSTED (B: two; C). It lives.",
            &[("NOT_FOUND", "(A)"), ("RESOURCE_EXHAUSTED", "(B: two; C). It lives")],
        );
        check(
            "Errors: UNAVAILABLE (A), RESOURCE_EXHAUSTED as for Set.",
            &[("UNAVAILABLE", "(A)"), ("RESOURCE_EXHAUSTED", "as for Set")],
        );
        check(
            "Errors: UNAVAILABLE (A), DEADLINE_EXCEEDED (DEADLINE_EXCEEDED, or DEADLINE_EXCEEDED).",
            &[
                ("UNAVAILABLE", "(A)"),
                ("DEADLINE_EXCEEDED", "(DEADLINE_EXCEEDED, or DEADLINE_EXCEEDED)"),
            ],
        );
    }
}
