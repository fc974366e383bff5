//! Requests of the namespace service, and policies.

use std::collections::BTreeMap;

use tonic::Status;

use super::policy::PolicyField;
use super::{At, Problems};
use crate::model::{DESCRIPTION_BYTES_MAX, LABEL_BYTES_MAX, LABELS_MAX, NamespaceName};
use crate::service::pages::PageOf;
use crate::store::NamespaceSpec;
use crate::wire::v1 as wire;
use crate::wire::v1::ErrorReason;

/// Most namespaces on one page.
const PAGE_NAMESPACES_MAX: usize = 1000;
const PAGE_NAMESPACES_DEFAULT: usize = 100;

/// Most hot keys of a namespace that are told.
const HOT_KEYS_MAX: usize = 100;
const HOT_KEYS_DEFAULT: usize = 10;

/// A page of namespaces asked for.
#[derive(Debug)]
pub(crate) struct NamespaceListing {
    pub(crate) prefix: String,
    pub(crate) start_after: Option<String>,
    pub(crate) namespaces_max: usize,
}

/// An update asked for.
#[derive(Debug)]
pub(crate) struct NamespaceChange {
    pub(crate) name: NamespaceName,
    pub(crate) etag: Option<String>,
    pub(crate) allow_missing: bool,
    fields: Vec<SpecField>,
    spec: NamespaceSpec,
}

impl NamespaceChange {
    /// Writes the chosen fields into `spec`.
    pub(crate) fn apply(&self, spec: &mut NamespaceSpec) {
        for field in &self.fields {
            match field {
                SpecField::Description => spec.description.clone_from(&self.spec.description),
                SpecField::Labels => spec.labels.clone_from(&self.spec.labels),
                SpecField::Policy(field) => field.copy(&self.spec.policy, &mut spec.policy),
            }
        }
    }
}

/// What of a namespace can be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SpecField {
    Description,
    Labels,
    Policy(PolicyField),
}

/// Checks a creation.
pub(crate) fn create_namespace(
    request: wire::CreateNamespaceRequest,
) -> Result<(NamespaceName, NamespaceSpec), Status> {
    let mut problems = Problems::default();
    let namespace = request.namespace.unwrap_or_default();
    let name = problems.namespace_name(&namespace.name, NAME);
    let spec = problems.spec(namespace);
    problems.refuse(name.zip(spec))
}

/// Checks a list.
pub(crate) fn list_namespaces(
    request: wire::ListNamespacesRequest,
) -> Result<NamespaceListing, Status> {
    let mut problems = Problems::default();
    let namespaces_max =
        problems.page_size(request.page_size, PAGE_NAMESPACES_DEFAULT, PAGE_NAMESPACES_MAX);
    let page = PageOf::Namespaces { prefix: &request.prefix };
    let start_after = problems.page_token(&request.page_token, page);
    let parsed = namespaces_max.zip(start_after);
    problems.refuse(parsed.map(|(namespaces_max, start_after)| NamespaceListing {
        prefix: request.prefix,
        start_after,
        namespaces_max,
    }))
}

/// Checks an update.
pub(crate) fn update_namespace(
    request: wire::UpdateNamespaceRequest,
) -> Result<NamespaceChange, Status> {
    let mut problems = Problems::default();
    let namespace = request.namespace.unwrap_or_default();
    let name = problems.namespace_name(&namespace.name, NAME);
    let etag = Some(namespace.etag.clone()).filter(|etag| !etag.is_empty());
    let spec = problems.spec(namespace);
    let paths = request.update_mask.map(|mask| mask.paths).unwrap_or_default();
    let masked = problems.mask(&paths, spec_fields);
    let allow_missing = request.allow_missing;
    problems.refuse(name.zip(spec).map(|(name, spec)| {
        let fields = if paths.is_empty() { set_fields(&spec) } else { masked };
        NamespaceChange { name, etag, allow_missing, fields, spec }
    }))
}

/// Checks the name in a request where an empty one means `default`.
pub(crate) fn named(text: &str, default: &NamespaceName) -> Result<NamespaceName, Status> {
    let mut problems = Problems::default();
    let name = problems.namespace(text, At::Field(&At::Top, "namespace"), default);
    problems.refuse(name)
}

/// Checks a request for hot keys; also says how many at most.
pub(crate) fn hot_keys(
    request: &wire::ListHotKeysRequest,
    default: &NamespaceName,
) -> Result<(NamespaceName, usize), Status> {
    let mut problems = Problems::default();
    let at = At::Field(&At::Top, "namespace");
    let name = problems.namespace(&request.namespace, at, default);
    let most = problems.page_size(request.page_size, HOT_KEYS_DEFAULT, HOT_KEYS_MAX);
    problems.refuse(name.zip(most))
}

/// Checks the name in a request that destroys: here nothing is taken to mean `default`.
pub(crate) fn required_name(text: &str) -> Result<NamespaceName, Status> {
    let mut problems = Problems::default();
    let name = problems.namespace_name(text, At::Field(&At::Top, "namespace"));
    problems.refuse(name)
}

const NAMESPACE: At<'_> = At::Field(&At::Top, "namespace");
const NAME: At<'_> = At::Field(&NAMESPACE, "name");

/// The fields that a path of an update mask names; `None` if it names none.
fn spec_fields(path: &str) -> Option<Vec<SpecField>> {
    let policy = || PolicyField::ALL.into_iter().map(SpecField::Policy);
    match path {
        "*" => {
            Some([SpecField::Description, SpecField::Labels].into_iter().chain(policy()).collect())
        }
        "description" => Some(vec![SpecField::Description]),
        "labels" => Some(vec![SpecField::Labels]),
        "policy" => Some(policy().collect()),
        path => {
            let field = PolicyField::named(path.strip_prefix("policy.")?)?;
            Some(vec![SpecField::Policy(field)])
        }
    }
}

/// The fields that are set.
fn set_fields(spec: &NamespaceSpec) -> Vec<SpecField> {
    let own = [
        (SpecField::Description, !spec.description.is_empty()),
        (SpecField::Labels, !spec.labels.is_empty()),
    ];
    let own = own.into_iter().filter_map(|(field, is_set)| is_set.then_some(field));
    let policy = PolicyField::ALL.into_iter().filter(|field| field.is_set(&spec.policy));
    own.chain(policy.map(SpecField::Policy)).collect()
}

impl Problems {
    /// The fields that the paths of an update mask name.
    pub(super) fn mask<F>(
        &mut self,
        paths: &[String],
        fields_of: impl Fn(&str) -> Option<Vec<F>>,
    ) -> Vec<F> {
        let mut fields = Vec::new();
        let mask = At::Field(&At::Top, "update_mask");
        for (index, path) in paths.iter().enumerate() {
            match fields_of(path) {
                Some(named) => fields.extend(named),
                None => {
                    // Paths are names of the schema and short; one that is not is cut.
                    let path: String = path.chars().take(64).collect();
                    let at = At::Item(&mask, "paths", index);
                    let text = "is not a field that can be changed";
                    let metadata = vec![("path", path)];
                    self.add_with::<()>(at, ErrorReason::UpdateMaskInvalid, text, metadata);
                }
            }
        }
        fields
    }

    fn spec(&mut self, namespace: wire::Namespace) -> Option<NamespaceSpec> {
        let bytes = namespace.description.len();
        if bytes > DESCRIPTION_BYTES_MAX {
            let text = format!("must be at most {DESCRIPTION_BYTES_MAX} bytes, this has {bytes}");
            let at = At::Field(&NAMESPACE, "description");
            self.add::<()>(at, ErrorReason::DescriptionInvalid, text);
        }
        let labels: BTreeMap<String, String> = namespace.labels.into_iter().collect();
        self.labels(&labels);
        let at = At::Field(&NAMESPACE, "policy");
        let policy = namespace.policy.unwrap_or_default();
        let policy = self.policy(&policy, at, ErrorReason::PolicyInvalid)?;
        Some(NamespaceSpec { description: namespace.description, labels, policy })
    }

    fn labels(&mut self, labels: &BTreeMap<String, String>) {
        const AT: At<'_> = At::Field(&NAMESPACE, "labels");
        let count = labels.len();
        if count > LABELS_MAX {
            let text = format!("must be at most {LABELS_MAX} labels, these are {count}");
            self.add::<()>(AT, ErrorReason::LabelsInvalid, text);
        }
        if labels.contains_key("") {
            self.add::<()>(AT, ErrorReason::LabelsInvalid, "must not have an empty key");
        }
        let long = |text: &str| text.len() > LABEL_BYTES_MAX;
        let too_long = labels.iter().filter(|(key, value)| long(key) || long(value)).count();
        if too_long > 0 {
            let text = format!(
                "must have keys and values of at most {LABEL_BYTES_MAX} bytes, {too_long} are longer"
            );
            self.add::<()>(AT, ErrorReason::LabelsInvalid, text);
        }
    }
}
