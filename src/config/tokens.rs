//! The file of those who are known: tokens and certificates, with what each was granted.
//!
//! Shape, in TOML: tables `[[tokens]]` with `name`, `id`, `sha256` and perhaps `expires`, tables
//! `[[certificates]]` with `name` and `san`; in each, `grants` is a list of `{ namespaces, role }`.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use toml::de::{DeTable, DeValue};
use toml::{Spanned, de::DeArray};

use super::complaint::{Complaints, Heap, Source};
use super::secret;
use super::source::line_of;
use super::suggest;
use crate::model::UnixMillis;
use crate::service::Role;
use crate::service::access::{
    Credential, Digest, Directory, Grant, Listed, Pattern, Principal, Token, TokenId,
};

type Value<'v> = Spanned<DeValue<'v>>;

/// Everybody in the file at `path`.
///
/// # Errors
/// [`Complaints`], all of them, by file and line.
pub fn directory(path: &Path) -> Result<Directory, Complaints> {
    let mut complaints = Heap::default();
    let listed = read(path, &mut complaints);
    complaints.none_or_all()?;
    Ok(Directory::new(listed))
}

/// The entry for a token, to be put behind others in such a file.
pub fn entry(token: &Token, principal: &Principal, expires: Option<UnixMillis>) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let mut lines = vec![
        "[[tokens]]".to_owned(),
        format!("name = {}", quoted(&principal.name)),
        format!("id = \"{}\"", token.id),
        format!("sha256 = \"{}\"", token.digest()),
    ];
    if let Some(expires) = expires {
        let moment = UNIX_EPOCH + Duration::from_millis(expires.as_millis());
        lines.push(format!("expires = {}", humantime::format_rfc3339_seconds(moment)));
    }
    let grants = principal.grants.iter().map(|Grant { namespaces, role }| {
        let names: Vec<_> = namespaces.iter().map(|name| quoted(&name.to_string())).collect();
        format!("{{ namespaces = [{}], role = \"{role}\" }}", names.join(", "))
    });
    lines.push(format!("grants = [{}]", grants.collect::<Vec<_>>().join(", ")));
    lines.join("\n") + "\n"
}

/// As [`directory`], with complaints among others.
pub(super) fn read(path: &Path, complaints: &mut Heap) -> Vec<Listed> {
    let name = path.display().to_string();
    match secret::text(path) {
        Ok(text) => parse(&name, &text, complaints),
        Err(text) => {
            complaints.add(&Source::File(name), text);
            Vec::new()
        }
    }
}

fn parse(name: &str, text: &str, complaints: &mut Heap) -> Vec<Listed> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut page = Page { name, text, complaints };
    for error in errors {
        page.complain(error.span().unwrap_or_default(), None, error.message());
    }
    let mut listed = Vec::new();
    for (key, value) in table.get_ref() {
        match key.get_ref().as_ref() {
            "tokens" => listed.extend(page.each(value, "tokens", Page::token)),
            "certificates" => listed.extend(page.each(value, "certificates", Page::certificate)),
            other => {
                let near = suggest::near(other, ["tokens", "certificates"].into_iter());
                page.complain(key.span(), Some(other), format!("is not known here{near}"));
            }
        }
    }
    page.check_unique(&listed);
    listed
}

/// The file as it is read.
struct Page<'p> {
    name: &'p str,
    text: &'p str,
    complaints: &'p mut Heap,
}

/// One table of the file.
type Table<'t> = Spanned<&'t DeTable<'t>>;

impl Page<'_> {
    fn complain(
        &mut self,
        span: std::ops::Range<usize>,
        key: Option<&str>,
        text: impl Into<String>,
    ) {
        let line = line_of(self.text, &span);
        let key = key.map(str::to_owned);
        let source = Source::Line { file: self.name.into(), line, key };
        self.complaints.add(&source, text);
    }

    fn each<'v, T>(
        &mut self,
        value: &'v Value<'v>,
        key: &str,
        read: impl Fn(&mut Self, &Table<'v>) -> Option<T>,
    ) -> Vec<T> {
        let DeValue::Array(items) = value.get_ref() else {
            self.complain(value.span(), Some(key), format!("must be tables [[{key}]]"));
            return Vec::new();
        };
        let mut found = Vec::new();
        for item in items {
            if let DeValue::Table(table) = item.get_ref() {
                found.extend(read(self, &Spanned::new(item.span(), table)));
            } else {
                self.complain(item.span(), Some(key), "must be a table");
            }
        }
        found
    }

    fn token(&mut self, table: &Table<'_>) -> Option<Listed> {
        self.only(table, &["name", "id", "sha256", "expires", "grants"]);
        let principal = self.principal(table);
        let id = self.text_of(table, "id", "24 hexadecimal digits", TokenId::parse);
        let digest = self.text_of(table, "sha256", "64 hexadecimal digits", Digest::parse);
        let expires = match table.get_ref().get("expires") {
            None => Some(None),
            Some(value) => {
                let moment = moment(value.get_ref());
                if moment.is_none() {
                    let text = "must be a moment such as 2027-01-01T00:00:00Z";
                    self.complain(value.span(), Some("expires"), text);
                }
                moment.map(Some)
            }
        };
        let credential = Credential::Token { id: id?, digest: digest?, expires: expires? };
        Some(Listed { credential, principal: principal? })
    }

    fn certificate(&mut self, table: &Table<'_>) -> Option<Listed> {
        self.only(table, &["name", "san", "grants"]);
        let principal = self.principal(table);
        let is_name = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let san = self.text_of(table, "san", "a DNS name or URI of the certificate", is_name);
        Some(Listed { credential: Credential::Certificate(san?), principal: principal? })
    }

    fn principal(&mut self, table: &Table<'_>) -> Option<Principal> {
        let is_name = |text: &str| {
            let fits = (1..=128).contains(&text.len()) && !text.chars().any(char::is_control);
            fits.then(|| text.to_owned())
        };
        let name =
            self.text_of(table, "name", "1 to 128 bytes without control characters", is_name);
        let grants = match table.get_ref().get("grants") {
            Some(value) => Some(self.each(value, "grants", Self::grant)),
            None => {
                self.complain(table.span(), Some("grants"), "must be there");
                None
            }
        };
        Some(Principal { name: name?, grants: grants? })
    }

    fn grant(&mut self, table: &Table<'_>) -> Option<Grant> {
        self.only(table, &["namespaces", "role"]);
        let role = self.text_of(table, "role", "reader, writer, owner or admin", |text| {
            Role::NAMED.iter().find(|(name, _)| *name == text).map(|(_, role)| *role)
        });
        let namespaces = match table.get_ref().get("namespaces") {
            Some(value) => {
                let items =
                    if let DeValue::Array(items) = value.get_ref() { Some(items) } else { None };
                let found = items.filter(|items| !items.is_empty());
                if found.is_none() {
                    let text = "must be a list of names, such as [\"acme\", \"acme-*\"]";
                    self.complain(value.span(), Some("namespaces"), text);
                }
                found.and_then(|items| self.patterns(items))
            }
            None => {
                self.complain(table.span(), Some("namespaces"), "must be there");
                None
            }
        };
        Some(Grant { namespaces: namespaces?, role: role? })
    }

    /// None if one of them is none.
    fn patterns(&mut self, items: &DeArray<'_>) -> Option<Vec<Pattern>> {
        let mut patterns = Vec::new();
        for item in items {
            match item.get_ref().as_str().map(Pattern::parse) {
                Some(Ok(pattern)) => patterns.push(pattern),
                Some(Err(error)) => {
                    self.complain(item.span(), Some("namespaces"), error.to_string());
                }
                None => self.complain(item.span(), Some("namespaces"), "must be a text"),
            }
        }
        (patterns.len() == items.len()).then_some(patterns)
    }

    /// The text of a key that must be there, read by `read`.
    fn text_of<T>(
        &mut self,
        table: &Table<'_>,
        key: &str,
        wanted: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let Some(value) = table.get_ref().get(key) else {
            self.complain(table.span(), Some(key), "must be there");
            return None;
        };
        let found = value.get_ref().as_str().and_then(read);
        if found.is_none() {
            // What was written is not repeated: it may be a token in the wrong place.
            self.complain(value.span(), Some(key), format!("must be {wanted}"));
        }
        found
    }

    fn only(&mut self, table: &Table<'_>, known: &[&str]) {
        for key in table.get_ref().keys() {
            let name = key.get_ref().as_ref();
            if !known.contains(&name) {
                let near = suggest::near(name, known.iter().copied());
                self.complain(key.span(), Some(name), format!("is not known here{near}"));
            }
        }
    }

    /// Of two with the same name nobody could tell from a log who it was; of two with the same id one
    /// would be lost.
    fn check_unique(&mut self, listed: &[Listed]) {
        let mut seen = std::collections::BTreeSet::new();
        for Listed { credential, principal } in listed {
            let by = match credential {
                Credential::Token { id, .. } => format!("id {id}"),
                Credential::Certificate(san) => format!("san {san:?}"),
            };
            for what in [format!("name {:?}", principal.name), by] {
                if !seen.insert(what.clone()) {
                    let text = format!("has the {what} more than once");
                    self.complaints.add(&Source::File(self.name.into()), text);
                }
            }
        }
    }
}

fn moment(value: &DeValue<'_>) -> Option<UnixMillis> {
    let text = if let DeValue::Datetime(moment) = value {
        moment.to_string()
    } else {
        value.as_str()?.to_owned()
    };
    let moment = humantime::parse_rfc3339(&text).ok()?;
    let since = moment.duration_since(std::time::UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok().map(UnixMillis::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<Listed>, Vec<(String, String)>> {
        let mut complaints = Heap::default();
        let listed = parse("tokens.toml", text, &mut complaints);
        let told = |Complaints(all): Complaints| {
            all.into_iter().map(|complaint| (complaint.source, complaint.text)).collect()
        };
        complaints.none_or_all().map_err(told).map(|()| listed)
    }

    #[test]
    fn a_file_is_read_as_it_is_documented() {
        let text = format!(
            "[[tokens]]\nname = \"orders\"\nid = \"{}\"\nsha256 = \"{}\"\n\
             expires = 2027-01-01T00:00:00Z\n\
             grants = [{{ namespaces = [\"acme\", \"acme-*\"], role = \"writer\" }}]\n\
             [[certificates]]\nname = \"billing\"\nsan = \"spiffe://x/billing\"\n\
             grants = [{{ namespaces = [\"*\"], role = \"admin\" }}]\n",
            "0".repeat(24),
            "a".repeat(64)
        );
        let listed = read_text(&text).unwrap();
        let by_name = |name: &str| {
            let found = listed.iter().find(|listed| listed.principal.name == name);
            found.expect("it is in the file")
        };
        let orders = by_name("orders");
        let Credential::Token { expires, .. } = &orders.credential else { panic!("a token") };
        assert_eq!(expires.map(UnixMillis::as_millis), Some(1_798_761_600_000));
        let principal = &orders.principal;
        let roles = ["acme", "acme-eu", "acm", "acme2"].map(|name| principal.role_on(name));
        assert_eq!(roles, [Some(Role::Writer), Some(Role::Writer), None, None]);
        assert_eq!(by_name("billing").principal.role_on_server(), Some(Role::Admin));
    }

    #[test]
    fn everything_wrong_is_told_with_its_line_and_no_secret_is_repeated() {
        let secret = "kv1_aaaaaaaaaaaaaaaaaaaaaaaa_SECRET";
        let text = format!(
            "[[tokens]]\nname = \"a\"\nid = \"zz\"\nsha256 = \"{secret}\"\nexpires = \"soon\"\n\
             grants = [{{ namespaces = [], role = \"king\" }}]\ngrant = 1\n[[token]]\n"
        );
        let complaints = read_text(&text).unwrap_err();
        let places: Vec<_> = complaints.iter().map(|(source, _)| source.as_str()).collect();
        for place in [
            "tokens.toml:3 (id)",
            "tokens.toml:4 (sha256)",
            "tokens.toml:5 (expires)",
            "tokens.toml:6 (namespaces)",
            "tokens.toml:6 (role)",
            "tokens.toml:7 (grant)",
            "tokens.toml:8 (token)",
        ] {
            assert!(places.contains(&place), "{place} not in {complaints:?}");
        }
        assert!(!format!("{complaints:?}").contains("SECRET"));
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let token = Token::mint().unwrap();
        let grants = vec![Grant {
            namespaces: ["a", "b-*", "*"].map(|text| Pattern::parse(text).unwrap()).to_vec(),
            role: Role::Owner,
        }];
        let principal = Principal { name: "so \"called\"".into(), grants };
        let text = entry(&token, &principal, Some(UnixMillis::from_millis(1_798_761_600_000)));
        let listed = read_text(&format!("\n{text}")).unwrap();
        assert_eq!(listed[0].principal, principal);
        let Credential::Token { id, expires, .. } = &listed[0].credential else {
            panic!("a token")
        };
        assert_eq!((*id, expires.map(UnixMillis::as_millis)), (token.id, Some(1_798_761_600_000)));
    }

    #[test]
    fn a_name_or_an_id_is_there_once() {
        let entry = format!(
            "[[tokens]]\nname = \"a\"\nid = \"{}\"\nsha256 = \"{}\"\ngrants = []\n",
            "0".repeat(24),
            "a".repeat(64)
        );
        let complaints = read_text(&entry.repeat(2)).unwrap_err();
        assert_eq!(complaints.len(), 2, "{complaints:?}");
    }
}
