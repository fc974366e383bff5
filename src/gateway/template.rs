//! Path templates of `google.api.http`, matched against paths as they were sent.

/// A template such as `/v1/namespaces/{namespace}/entries/{key=**}` or `/v1/namespaces/{namespace}:get`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    segments: Vec<Segment>,
    /// What stands behind the last ":".
    custom: Option<String>,
    text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    /// `{name}` or `{name=*}`.
    One(String),
    /// `{name=**}`, always the last.
    Rest(String),
}

impl Template {
    /// Reads a template. Errors: what about it is not understood.
    pub(super) fn parse(text: &str) -> Result<Template, String> {
        let inside = text.strip_prefix('/').ok_or_else(|| format!("{text} is no path"))?;
        let (path, custom) = match inside.rsplit_once(':') {
            Some((path, custom)) if !custom.contains(['/', '}']) => (path, Some(custom.to_owned())),
            Some(_) | None => (inside, None),
        };
        let segments: Vec<_> = path.split('/').map(segment).collect::<Result<_, _>>()?;
        let is_rest = |segment: &Segment| matches!(segment, Segment::Rest(_));
        let early = segments.iter().rev().skip(1).any(is_rest);
        if early || (custom.is_some() && segments.iter().any(is_rest)) {
            return Err(format!("{text} goes on behind **"));
        }
        Ok(Template { segments, custom, text: text.to_owned() })
    }

    /// The template as it is written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The field paths of its variables, in order.
    pub(super) fn variables(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::One(name) | Segment::Rest(name) => Some(name.as_str()),
            Segment::Literal(_) => None,
        })
    }

    /// The variables of a path that fits, still with their percent escapes.
    ///
    /// Nothing of the path is interpreted before it is taken apart: an escaped "/" or ":" belongs to
    /// the variable it stands in, and ".." is a name like any other.
    pub(super) fn matched<'p>(&self, path: &'p str) -> Option<Vec<&'p str>> {
        let mut rest = path.strip_prefix('/')?;
        if let Some(custom) = &self.custom {
            rest = rest.strip_suffix(custom.as_str())?.strip_suffix(':')?;
        }
        let mut found = Vec::new();
        let last = self.segments.len() - 1;
        for (index, segment) in self.segments.iter().enumerate() {
            if let Segment::Rest(_) = segment {
                found.push(rest);
                return Some(found);
            }
            let (here, behind) = match (index == last, rest.split_once('/')) {
                (true, None) => (rest, ""),
                (false, Some(split)) => split,
                (true, Some(_)) | (false, None) => return None,
            };
            match segment {
                Segment::Literal(literal) if literal == here => {}
                // Behind an unescaped ":" stands the name of a method.
                Segment::One(_) if index == last && here.contains(':') => return None,
                Segment::One(_) if !here.is_empty() => found.push(here),
                Segment::Literal(_) | Segment::One(_) | Segment::Rest(_) => return None,
            }
            rest = behind;
        }
        Some(found)
    }
}

fn segment(text: &str) -> Result<Segment, String> {
    let Some(inside) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) else {
        return match text {
            "" => Err("a segment is empty".to_owned()),
            text if text.contains(['*', '{', '}', '=']) => Err(format!("{text} is not served")),
            literal => Ok(Segment::Literal(literal.to_owned())),
        };
    };
    match inside.split_once('=') {
        None | Some((_, "*")) => {
            Ok(Segment::One(inside.split('=').next().unwrap_or_default().to_owned()))
        }
        Some((name, "**")) => Ok(Segment::Rest(name.to_owned())),
        Some((_, pattern)) => Err(format!("the pattern {pattern} is not served")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched<'p>(template: &str, path: &'p str) -> Option<Vec<&'p str>> {
        Template::parse(template).unwrap().matched(path)
    }

    #[test]
    fn a_path_is_taken_apart_before_it_is_decoded() {
        const KEY: &str = "/v1/namespaces/{namespace}/entries/{key=**}";
        const GET: &str = "/v1/namespaces/{namespace}:get";
        let cases: [(&str, &str, Option<&[&str]>); 18] = [
            (KEY, "/v1/namespaces/a/entries/k", Some(&["a", "k"])),
            (KEY, "/v1/namespaces/a/entries/k/1", Some(&["a", "k/1"])),
            (KEY, "/v1/namespaces/a/entries/k%2F1", Some(&["a", "k%2F1"])),
            (KEY, "/v1/namespaces/a/entries/../x", Some(&["a", "../x"])),
            (KEY, "/v1/namespaces/a/entries//k/", Some(&["a", "/k/"])),
            (KEY, "/v1/namespaces/a/entries/k:get", Some(&["a", "k:get"])),
            (KEY, "/v1/namespaces/a:b/entries/k", Some(&["a:b", "k"])),
            (KEY, "/v1/namespaces/a/entries/", Some(&["a", ""])),
            (KEY, "/v1/namespaces//entries/k", None),
            (KEY, "/v1/namespaces/a/entries", None),
            (KEY, "/v1/namespaces/a/b/entries/k", None),
            (GET, "/v1/namespaces/a:get", Some(&["a"])),
            (GET, "/v1/namespaces/a%3Ab:get", Some(&["a%3Ab"])),
            (GET, "/v1/namespaces/a:b:get", None),
            (GET, "/v1/namespaces/a", None),
            (GET, "/v1/namespaces/:get", None),
            ("/v1/namespaces/{namespace}", "/v1/namespaces/a:get", None),
            ("/v1:compact", "/v1:compact", Some(&[])),
        ];
        for (template, path, expected) in cases {
            let expected = expected.map(<[&str]>::to_vec);
            assert_eq!(matched(template, path), expected, "{template} {path}");
        }
    }

    #[test]
    fn a_template_that_cannot_be_served_is_refused() {
        for text in ["v1", "/v1//x", "/v1/*", "/v1/{a=**}/b", "/v1/{a=**}:x", "/v1/{a=b/*}"] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }
}
