//! The requests of every server, for the same work: keys of 16 bytes, values of 100.

use prost::Message;
use pykv::wire::v1::lifetime::Length;
use pykv::wire::v1::limit::Bound;
use pykv::wire::v1::pipeline_request::Request;
use pykv::wire::v1::write_operation::Operation;
use pykv::wire::v1::{
    BatchGetRequest, BatchWriteRequest, CreateNamespaceRequest, Durability, EntryView, GetRequest,
    Lifetime, Limit, Namespace, NamespacePolicy, PipelineRequest, SetRequest, WriteOperation,
};

use super::load::Work;
use super::pipeline::Framing;
use super::template::{KEY, Keys, Template};
use super::wire::Dialect;

pub(crate) const VALUE_BYTES: usize = 100;
/// Operations in a batch.
pub(crate) const BATCH: u32 = 100;
/// A time to live that does not end while a run lasts, in seconds.
const TTL_SECONDS: i64 = 3_600;

/// Bytes before each gRPC message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

fn value(bytes: usize) -> Vec<u8> {
    vec![b'v'; bytes]
}

/// A message with its prefix.
fn prefixed(message: &impl Message) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(message.encoded_len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend(message.encode_to_vec());
    bytes
}

fn grpc(path: &'static str, message: &impl Message, reply_bytes_min: usize) -> Work {
    let bytes = prefixed(message);
    let dialect = Dialect::Grpc { path, reply_bytes_min: reply_bytes_min + PREFIX_BYTES };
    Work { dialect, template: Template::new(bytes), keys: Keys::InOrder, operations: 1 }
}

/// A GET over HTTP/1.1.
fn http(path: &str) -> Work {
    let text = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
    let dialect = Dialect::Http { bytes_min: VALUE_BYTES };
    Work { dialect, template: Template::new(text.into()), keys: Keys::InOrder, operations: 1 }
}

impl Work {
    /// The same with these keys.
    pub(crate) fn over(self, keys: Keys) -> Work {
        Work { keys, ..self }
    }

    /// The same where an answer without values is a good one too.
    pub(crate) fn may_miss(mut self) -> Work {
        if let Dialect::Grpc { reply_bytes_min, .. } = &mut self.dialect {
            *reply_bytes_min = PREFIX_BYTES;
        }
        self
    }

    fn batch(self) -> Work {
        Work { operations: BATCH, ..self }
    }
}

/// Requests of this package's server; a namespace for each kind of safety.
pub(crate) mod pykv_requests {
    use super::*;

    /// Creates a namespace.
    pub(crate) fn create(name: &str, durability: Durability, expires: bool) -> Work {
        let length = Length::Ttl(prost_types::Duration { seconds: TTL_SECONDS, nanos: 0 });
        let default_ttl = expires.then_some(Lifetime { length: Some(length) });
        let durability = durability.into();
        create_with(name, NamespacePolicy { durability, default_ttl, ..Default::default() })
    }

    /// Creates a namespace that keeps no more than `keys_max` keys.
    pub(crate) fn create_small(name: &str, durability: Durability, keys_max: u64) -> Work {
        let bound = i64::try_from(keys_max).ok().map(Bound::Maximum);
        let (durability, max_keys) = (durability.into(), Some(Limit { bound }));
        create_with(name, NamespacePolicy { durability, max_keys, ..Default::default() })
    }

    fn create_with(name: &str, policy: NamespacePolicy) -> Work {
        let namespace =
            Namespace { name: name.to_owned(), policy: Some(policy), ..Namespace::default() };
        let request = CreateNamespaceRequest { namespace: Some(namespace) };
        grpc("/pykv.v1.NamespaceService/CreateNamespace", &request, 1)
    }

    fn get_request(namespace: &str) -> GetRequest {
        let (namespace, key) = (namespace.to_owned(), KEY.to_owned());
        GetRequest { namespace, key, view: EntryView::Value.into() }
    }

    /// An entry as JSON.
    pub(crate) fn rest_entry(namespace: &str) -> Work {
        http(&format!("/v1/namespaces/{namespace}/entries/{KEY}"))
    }

    /// A value as it is.
    pub(crate) fn rest_value(namespace: &str) -> Work {
        http(&format!("/v1/namespaces/{namespace}/values/{KEY}"))
    }

    /// As the original's clients read.
    pub(crate) fn rest_original(namespace: &str) -> Work {
        http(&format!("/get/{KEY}?ns={namespace}"))
    }

    pub(crate) fn get(namespace: &str, value_bytes: usize) -> Work {
        grpc("/pykv.v1.KeyValueService/Get", &get_request(namespace), value_bytes)
    }

    /// One pipeline of `request`.
    fn pipeline(framing: Framing, request: Request, reply_bytes_min: usize) -> Work {
        let message = PipelineRequest { id: 1, request: Some(request) };
        let dialect = Dialect::Pipeline { framing, reply_bytes_min };
        let template = Template::new(prefixed(&message));
        Work { dialect, template, keys: Keys::InOrder, operations: 1 }
    }

    pub(crate) fn pipeline_of_gets(framing: Framing, namespace: &str) -> Work {
        pipeline(framing, Request::Get(get_request(namespace)), VALUE_BYTES)
    }

    pub(crate) fn pipeline_of_sets(framing: Framing, namespace: &str) -> Work {
        pipeline(framing, Request::Set(set_request(namespace, VALUE_BYTES)), 1)
    }

    pub(crate) fn pipeline_of_batch_gets(framing: Framing, namespace: &str) -> Work {
        let request = batch_get_request(namespace);
        let reply_bytes_min = VALUE_BYTES * request.keys.len();
        pipeline(framing, Request::BatchGet(request), reply_bytes_min).batch()
    }

    fn set_request(namespace: &str, value_bytes: usize) -> SetRequest {
        let (namespace, key) = (namespace.to_owned(), KEY.to_owned());
        SetRequest { namespace, key, value: value(value_bytes).into(), ..SetRequest::default() }
    }

    pub(crate) fn set(namespace: &str, value_bytes: usize) -> Work {
        grpc("/pykv.v1.KeyValueService/Set", &set_request(namespace, value_bytes), 1)
    }

    fn batch_get_request(namespace: &str) -> BatchGetRequest {
        let keys = (0..BATCH).map(|_| KEY).collect();
        let view = EntryView::Value.into();
        BatchGetRequest { namespace: namespace.to_owned(), keys, view }
    }

    pub(crate) fn batch_get(namespace: &str) -> Work {
        let request = batch_get_request(namespace);
        let reply_bytes_min = VALUE_BYTES * request.keys.len();
        grpc("/pykv.v1.KeyValueService/BatchGet", &request, reply_bytes_min).batch()
    }

    pub(crate) fn batch_write(namespace: &str) -> Work {
        let set = || Some(Operation::Set(set_request("", VALUE_BYTES)));
        let operations = (0..BATCH).map(|_| WriteOperation { operation: set() }).collect();
        let namespace = namespace.to_owned();
        let request = BatchWriteRequest { namespace, operations, atomic: false };
        grpc("/pykv.v1.KeyValueService/BatchWrite", &request, 1).batch()
    }
}

/// Requests of etcd; only the fields that are used, numbered as in its `rpc.proto`.
pub(crate) mod etcd_requests {
    use super::*;

    #[derive(Clone, PartialEq, Message)]
    struct Range {
        #[prost(bytes = "vec", tag = "1")]
        key: Vec<u8>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Put {
        #[prost(bytes = "vec", tag = "1")]
        key: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        value: Vec<u8>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Step {
        #[prost(message, optional, tag = "2")]
        put: Option<Put>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Transaction {
        #[prost(message, repeated, tag = "2")]
        success: Vec<Step>,
    }

    fn put_request() -> Put {
        Put { key: KEY.into(), value: value(VALUE_BYTES) }
    }

    pub(crate) fn range() -> Work {
        grpc("/etcdserverpb.KV/Range", &Range { key: KEY.into() }, VALUE_BYTES)
    }

    pub(crate) fn put() -> Work {
        grpc("/etcdserverpb.KV/Put", &put_request(), 1)
    }

    pub(crate) fn transaction() -> Work {
        let success = (0..BATCH).map(|_| Step { put: Some(put_request()) }).collect();
        grpc("/etcdserverpb.KV/Txn", &Transaction { success }, 1).batch()
    }
}

fn text(request: Vec<u8>, head: &'static [u8], bytes: usize) -> Work {
    let dialect = Dialect::Text { head, bytes };
    Work { dialect, template: Template::new(request), keys: Keys::InOrder, operations: 1 }
}

/// Requests of Redis.
pub(crate) mod redis_requests {
    use super::*;

    const OK: &[u8] = b"+OK\r\n";

    fn command(words: &[&[u8]]) -> Vec<u8> {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            bytes.extend(format!("${}\r\n", word.len()).into_bytes());
            bytes.extend_from_slice(word);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes
    }

    /// Bytes of one value in an answer.
    const VALUE_REPLY: usize = "$100\r\n".len() + VALUE_BYTES + "\r\n".len();

    pub(crate) fn get() -> Work {
        text(command(&[b"GET", KEY.as_bytes()]), b"$100\r\n", VALUE_REPLY)
    }

    pub(crate) fn set() -> Work {
        text(command(&[b"SET", KEY.as_bytes(), &value(VALUE_BYTES)]), OK, OK.len())
    }

    pub(crate) fn set_with_ttl() -> Work {
        let seconds = TTL_SECONDS.to_string();
        let value = value(VALUE_BYTES);
        let words: [&[u8]; 5] = [b"SET", KEY.as_bytes(), &value, b"EX", seconds.as_bytes()];
        text(command(&words), OK, OK.len())
    }

    pub(crate) fn mget() -> Work {
        let mut words: Vec<&[u8]> = vec![b"MGET"];
        words.extend((0..BATCH).map(|_| KEY.as_bytes()));
        let head = b"*100\r\n$100\r\n";
        let values = VALUE_REPLY * (words.len() - 1);
        text(command(&words), head, "*100\r\n".len() + values).batch()
    }

    pub(crate) fn mset() -> Work {
        let value = value(VALUE_BYTES);
        let mut words: Vec<&[u8]> = vec![b"MSET"];
        for _ in 0..BATCH {
            words.extend([KEY.as_bytes(), &value]);
        }
        text(command(&words), OK, OK.len()).batch()
    }
}

/// Requests of memcached.
pub(crate) mod memcached_requests {
    use super::*;

    pub(crate) fn get() -> Work {
        let bytes = format!("VALUE {KEY} 0 100\r\n").len() + VALUE_BYTES + "\r\nEND\r\n".len();
        text(format!("get {KEY}\r\n").into_bytes(), b"VALUE ", bytes)
    }

    pub(crate) fn set() -> Work {
        let mut request = format!("set {KEY} 0 0 100\r\n").into_bytes();
        request.extend(value(VALUE_BYTES));
        request.extend(b"\r\n");
        text(request, b"STORED\r\n", "STORED\r\n".len())
    }
}
