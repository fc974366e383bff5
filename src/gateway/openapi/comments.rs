//! What the schema says about itself in its comments.

use prost_reflect::FileDescriptor;

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

/// The codes of gRPC with their reasons that a comment lists behind "Errors:".
pub(super) fn errors(text: &str) -> Vec<(String, String)> {
    let Some((_, list)) = text.split_once("Errors:") else { return Vec::new() };
    let list = list.split("\n\n").next().unwrap_or_default();
    let is_code = |word: &str| {
        word.len() > 4 && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
    };
    // A semicolon stands inside parentheses too.
    let mut found: Vec<(String, String)> = Vec::new();
    for part in list.split("; ") {
        let part = part.trim().trim_end_matches('.');
        let (word, rest) = part.split_once(' ').unwrap_or((part, ""));
        match found.last_mut() {
            _ if is_code(word) && rest.starts_with('(') => {
                found.push((word.to_owned(), rest.to_owned()));
            }
            Some((_, reasons)) => reasons.extend(["; ", part]),
            None => {}
        }
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
        let text = "It does.\n\nErrors: NOT_FOUND (A); RESOURCE_EXHAUSTED (B: two; C). It lives.";
        let found = errors(text);
        assert_eq!(found[0], ("NOT_FOUND".into(), "(A)".into()));
        assert_eq!(found[1], ("RESOURCE_EXHAUSTED".into(), "(B: two; C). It lives".into()));
        assert_eq!(errors("Nothing."), []);
    }
}
