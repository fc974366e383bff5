//! `pykv.v1.NamespaceService`.

use prost::Message;
use tonic::{Request, Response, Status};

use super::access::{Gate, Pass, admitted, admitted_with};
use super::pages::{self, PageOf};
use super::{REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX, Role, convert, status, validate};
use crate::model::NamespaceName;
use crate::store::{Error, NamespaceInfo, NamespaceSpec, Store};
use crate::wire::v1 as wire;
use crate::wire::v1::namespace_service_server::{NamespaceService, NamespaceServiceServer};

/// Most bytes of namespaces on one page; the rest of a response is room for the page token.
const PAGE_BYTES_MAX: usize = RESPONSE_BYTES_MAX - (4 << 10);
/// What a message takes inside another one besides itself: a tag and a length.
const FRAME_BYTES: usize = 5;

/// The role with which a namespace is in a list.
const SEES: Role = Role::Reader;

type Answer<T> = Result<Response<T>, Status>;

/// Life cycle and limits of namespaces, over any store.
#[derive(Clone, Debug)]
pub struct Namespaces<S> {
    store: S,
    default: NamespaceName,
    gate: Gate,
}

impl<S: Store> Namespaces<S> {
    /// The service over `store`, behind `gate`.
    pub fn new(store: S, gate: Gate) -> Self {
        Namespaces { store, default: NamespaceName::default(), gate }
    }

    /// The service with its limits, ready to be routed to.
    pub fn into_server(self) -> NamespaceServiceServer<Self> {
        NamespaceServiceServer::new(self)
            .max_decoding_message_size(REQUEST_BYTES_MAX)
            .max_encoding_message_size(RESPONSE_BYTES_MAX)
    }

    /// The namespaces that a caller may see, at most so many, behind `after`.
    async fn seen(
        &self,
        pass: &Pass,
        prefix: &str,
        after: Option<&str>,
        namespaces_max: usize,
    ) -> Result<Vec<NamespaceInfo>, Error> {
        let mut after = after.map(str::to_owned);
        let mut seen = Vec::new();
        loop {
            let found = self.store.namespaces(prefix, after.as_deref(), namespaces_max).await?;
            let is_last = found.len() < namespaces_max;
            after = found.last().map(|last| last.definition.name.to_string());
            let sees = |info: &NamespaceInfo| pass.allows(SEES, info.definition.name.as_str());
            seen.extend(found.into_iter().filter(sees));
            if is_last || seen.len() >= namespaces_max {
                seen.truncate(namespaces_max);
                return Ok(seen);
            }
        }
    }
}

#[tonic::async_trait]
impl<S: Store> NamespaceService for Namespaces<S> {
    async fn create_namespace(
        &self,
        request: Request<wire::CreateNamespaceRequest>,
    ) -> Answer<wire::CreateNamespaceResponse> {
        let (name, spec) = validate::create_namespace(admitted(&self.gate, request)?)?;
        let made = self.store.create_namespace(&name, spec).await;
        let namespace = made.map(convert::namespace).map_err(|error| failed(&error, &name))?;
        Ok(Response::new(wire::CreateNamespaceResponse { namespace: Some(namespace) }))
    }

    async fn get_namespace(
        &self,
        request: Request<wire::GetNamespaceRequest>,
    ) -> Answer<wire::GetNamespaceResponse> {
        let name = validate::named(&admitted(&self.gate, request)?.namespace, &self.default)?;
        let found = self.store.namespace(&name).await;
        let namespace = found.map(convert::namespace).map_err(|error| failed(&error, &name))?;
        Ok(Response::new(wire::GetNamespaceResponse { namespace: Some(namespace) }))
    }

    async fn list_namespaces(
        &self,
        request: Request<wire::ListNamespacesRequest>,
    ) -> Answer<wire::ListNamespacesResponse> {
        let (request, pass) = admitted_with(&self.gate, request)?;
        let listing = validate::list_namespaces(request)?;
        let (prefix, after) = (listing.prefix.as_str(), listing.start_after.as_deref());
        // One more than asked for tells whether there is another page.
        let found = self.seen(&pass, prefix, after, listing.namespaces_max + 1).await;
        let found = found.map_err(|error| failed(&error, &self.default))?;
        let total = found.len();
        let namespaces = fitting(found, listing.namespaces_max);
        let next_page_token = match namespaces.last() {
            Some(last) if namespaces.len() < total => {
                pages::token(PageOf::Namespaces { prefix }, &last.name)
            }
            Some(_) | None => String::new(),
        };
        Ok(Response::new(wire::ListNamespacesResponse { namespaces, next_page_token }))
    }

    async fn update_namespace(
        &self,
        request: Request<wire::UpdateNamespaceRequest>,
    ) -> Answer<wire::UpdateNamespaceResponse> {
        let change = validate::update_namespace(admitted(&self.gate, request)?)?;
        let (etag, allow_missing) = (change.etag.as_deref(), change.allow_missing);
        let edit = |spec: &mut NamespaceSpec| change.apply(spec);
        let changed = self.store.update_namespace(&change.name, etag, allow_missing, edit).await;
        let changed = changed.map_err(|error| failed(&error, &change.name))?;
        let namespace = Some(convert::namespace(changed));
        Ok(Response::new(wire::UpdateNamespaceResponse { namespace }))
    }

    async fn delete_namespace(
        &self,
        request: Request<wire::DeleteNamespaceRequest>,
    ) -> Answer<wire::DeleteNamespaceResponse> {
        let request = admitted(&self.gate, request)?;
        let name = validate::required_name(&request.namespace)?;
        let deleted = self.store.delete_namespace(&name, request.force).await;
        let deleted = deleted.map_err(|error| failed(&error, &name))?;
        Ok(Response::new(wire::DeleteNamespaceResponse { deleted_count: convert::int64(deleted) }))
    }

    async fn clear_namespace(
        &self,
        request: Request<wire::ClearNamespaceRequest>,
    ) -> Answer<wire::ClearNamespaceResponse> {
        let name = validate::required_name(&admitted(&self.gate, request)?.namespace)?;
        let deleted = self.store.clear_namespace(&name).await;
        let deleted = deleted.map_err(|error| failed(&error, &name))?;
        Ok(Response::new(wire::ClearNamespaceResponse { deleted_count: convert::int64(deleted) }))
    }

    async fn get_namespace_stats(
        &self,
        request: Request<wire::GetNamespaceStatsRequest>,
    ) -> Answer<wire::GetNamespaceStatsResponse> {
        let name = validate::named(&admitted(&self.gate, request)?.namespace, &self.default)?;
        let stats = self.store.namespace_stats(&name).await;
        let stats = stats.map(convert::namespace_stats).map_err(|error| failed(&error, &name))?;
        Ok(Response::new(wire::GetNamespaceStatsResponse { stats: Some(stats) }))
    }

    async fn list_hot_keys(
        &self,
        request: Request<wire::ListHotKeysRequest>,
    ) -> Answer<wire::ListHotKeysResponse> {
        let (name, most) = validate::hot_keys(&admitted(&self.gate, request)?, &self.default)?;
        let hot = self.store.hot_keys(&name, most).await;
        let hot = hot.map(convert::hot_keys).map_err(|error| failed(&error, &name))?;
        Ok(Response::new(hot))
    }
}

/// The first of `found`, as many as fit a page and a response.
fn fitting(found: Vec<NamespaceInfo>, namespaces_max: usize) -> Vec<wire::Namespace> {
    let mut bytes = 0;
    let namespaces = found.into_iter().take(namespaces_max).map(convert::namespace);
    let fits = |namespace: &wire::Namespace| {
        bytes += namespace.encoded_len() + FRAME_BYTES;
        bytes <= PAGE_BYTES_MAX
    };
    namespaces.take_while(fits).collect()
}

fn failed(error: &Error, namespace: &NamespaceName) -> Status {
    status::of_error(error, namespace.as_str()).into_status()
}
