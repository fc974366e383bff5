//! Encoded messages straight to JSON, byte for byte as the library for descriptors writes them.
//!
//! The library first makes a tree of a message, which costs more than all the rest of a small answer.
//! What is not plain, such as maps and messages of any type, is left to it.

use ahash::AHashMap;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use prost::Message as _;
use prost::encoding::{WireType, decode_key, decode_varint};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use prost_types::{Duration, Timestamp};

/// How the messages that are plain are written.
#[derive(Debug, Default)]
pub(super) struct Printer {
    plans: Vec<Option<Plan>>,
    by_name: AHashMap<String, usize>,
}

/// The fields of a message, in the order in which they are written.
type Plan = Vec<Field>;

#[derive(Debug)]
struct Field {
    number: u32,
    /// With its quotes and its colon.
    key: Vec<u8>,
    is_list: bool,
    has_presence: bool,
    shape: Shape,
}

#[derive(Debug)]
enum Shape {
    Text,
    Bytes,
    Bool,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Named(Vec<(i32, String)>),
    Timestamp,
    Duration,
    Message(usize),
}

/// A value as it was sent.
#[derive(Clone, Copy)]
enum Raw<'m> {
    Number(u64),
    Bytes(&'m [u8]),
}

impl Printer {
    /// Looks at a message and all it holds; tells which it is.
    pub(super) fn learn(&mut self, message: &MessageDescriptor) -> usize {
        if let Some(known) = self.by_name.get(message.full_name()) {
            return *known;
        }
        let index = self.plans.len();
        self.by_name.insert(message.full_name().to_owned(), index);
        // A message that holds itself is not plain.
        self.plans.push(None);
        self.plans[index] = message.fields().map(|field| self.field(&field)).collect();
        index
    }

    fn field(&mut self, field: &FieldDescriptor) -> Option<Field> {
        let shape = match field.kind() {
            Kind::String => Shape::Text,
            Kind::Bytes => Shape::Bytes,
            Kind::Bool => Shape::Bool,
            Kind::Int32 => Shape::Int32,
            Kind::Int64 => Shape::Int64,
            Kind::Uint32 => Shape::Uint32,
            Kind::Uint64 => Shape::Uint64,
            Kind::Enum(named) => {
                let values = named.values();
                Shape::Named(values.map(|v| (v.number(), v.name().to_owned())).collect())
            }
            Kind::Message(inside) => match inside.full_name() {
                "google.protobuf.Timestamp" => Shape::Timestamp,
                "google.protobuf.Duration" => Shape::Duration,
                name if name.starts_with("google.") => return None,
                _ => {
                    let index = self.learn(&inside);
                    self.plans[index].as_ref()?;
                    Shape::Message(index)
                }
            },
            Kind::Double
            | Kind::Float
            | Kind::Sint32
            | Kind::Sint64
            | Kind::Fixed32
            | Kind::Fixed64
            | Kind::Sfixed32
            | Kind::Sfixed64 => return None,
        };
        let key = format!("\"{}\":", field.json_name()).into_bytes();
        let (is_list, has_presence) = (field.is_list(), field.supports_presence());
        let number = field.number();
        (!field.is_map()).then_some(Field { number, key, is_list, has_presence, shape })
    }

    /// Writes a message of a type that was learnt. None if it is not plain, or no message; what was
    /// written by then is no good.
    pub(super) fn print(
        &self,
        message: &MessageDescriptor,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let index = *self.by_name.get(message.full_name())?;
        self.message(index, bytes, out)
    }

    fn message(&self, index: usize, mut bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let plan = self.plans.get(index)?.as_ref()?;
        let mut found: Vec<(u32, Raw<'_>)> = Vec::with_capacity(plan.len());
        while !bytes.is_empty() {
            let (number, wire) = decode_key(&mut bytes).ok()?;
            let value = match wire {
                WireType::Varint => Raw::Number(decode_varint(&mut bytes).ok()?),
                WireType::LengthDelimited => {
                    let length = usize::try_from(decode_varint(&mut bytes).ok()?).ok()?;
                    let (value, rest) = bytes.split_at_checked(length)?;
                    bytes = rest;
                    Raw::Bytes(value)
                }
                WireType::SixtyFourBit
                | WireType::ThirtyTwoBit
                | WireType::StartGroup
                | WireType::EndGroup => return None,
            };
            found.push((number, value));
        }
        let mut before = b'{';
        for field in plan {
            let mut values = found.iter().filter(|(number, _)| *number == field.number);
            let last = values.clone().next_back();
            if field.has_presence && last.is_none() {
                continue;
            }
            out.push(before);
            before = b',';
            out.extend_from_slice(&field.key);
            match (field.is_list, last) {
                (true, _) => self.list(field, &mut values.by_ref().map(|(_, raw)| *raw), out)?,
                (false, Some((_, raw))) => self.value(&field.shape, *raw, out)?,
                (false, None) => self.value(&field.shape, field.shape.absent(), out)?,
            }
        }
        if before == b'{' {
            out.push(b'{');
        }
        out.push(b'}');
        Some(())
    }

    fn list<'m>(
        &self,
        field: &Field,
        values: &mut dyn Iterator<Item = Raw<'m>>,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let mut before = b'[';
        for raw in values {
            match (raw, field.shape.absent()) {
                // Numbers come packed.
                (Raw::Bytes(mut packed), Raw::Number(_)) => {
                    while !packed.is_empty() {
                        let number = decode_varint(&mut packed).ok()?;
                        out.push(before);
                        before = b',';
                        self.value(&field.shape, Raw::Number(number), out)?;
                    }
                }
                (raw, _) => {
                    out.push(before);
                    before = b',';
                    self.value(&field.shape, raw, out)?;
                }
            }
        }
        if before == b'[' {
            out.push(b'[');
        }
        out.push(b']');
        Some(())
    }

    fn value(&self, shape: &Shape, raw: Raw<'_>, out: &mut Vec<u8>) -> Option<()> {
        match (shape, raw) {
            (Shape::Text, Raw::Bytes(text)) => {
                serde_json::to_writer(out, std::str::from_utf8(text).ok()?).ok()
            }
            (Shape::Bytes, Raw::Bytes(bytes)) => {
                out.push(b'"');
                let begin = out.len();
                out.resize(begin + bytes.len().div_ceil(3) * 4, 0);
                BASE64_STANDARD.encode_slice(bytes, &mut out[begin..]).ok()?;
                out.push(b'"');
                Some(())
            }
            (Shape::Bool, Raw::Number(number)) => serde_json::to_writer(out, &(number != 0)).ok(),
            #[expect(clippy::cast_possible_truncation, reason = "by the encoding of protobuf")]
            (Shape::Int32, Raw::Number(number)) => {
                serde_json::to_writer(out, &(number as i32)).ok()
            }
            #[expect(clippy::cast_possible_truncation, reason = "by the encoding of protobuf")]
            (Shape::Uint32, Raw::Number(number)) => {
                serde_json::to_writer(out, &(number as u32)).ok()
            }
            (Shape::Int64, Raw::Number(number)) => quoted(&number.cast_signed(), out),
            (Shape::Uint64, Raw::Number(number)) => quoted(&number, out),
            (Shape::Named(values), Raw::Number(number)) => {
                #[expect(clippy::cast_possible_truncation, reason = "by the encoding of protobuf")]
                let number = number as i32;
                match values.iter().find(|(value, _)| *value == number) {
                    Some((_, name)) => serde_json::to_writer(out, name).ok(),
                    None => serde_json::to_writer(out, &number).ok(),
                }
            }
            (Shape::Timestamp, Raw::Bytes(bytes)) => {
                serde_json::to_writer(out, &Timestamp::decode(bytes).ok()?.to_string()).ok()
            }
            (Shape::Duration, Raw::Bytes(bytes)) => {
                serde_json::to_writer(out, &Duration::decode(bytes).ok()?.to_string()).ok()
            }
            (Shape::Message(index), Raw::Bytes(bytes)) => self.message(*index, bytes, out),
            (
                Shape::Text | Shape::Bytes | Shape::Timestamp | Shape::Duration | Shape::Message(_),
                Raw::Number(_),
            )
            | (
                Shape::Bool
                | Shape::Int32
                | Shape::Int64
                | Shape::Uint32
                | Shape::Uint64
                | Shape::Named(_),
                Raw::Bytes(_),
            ) => None,
        }
    }
}

impl Shape {
    /// What a field is that is not there.
    fn absent(&self) -> Raw<'static> {
        match self {
            Shape::Text | Shape::Bytes => Raw::Bytes(&[]),
            Shape::Timestamp | Shape::Duration | Shape::Message(_) => Raw::Bytes(&[]),
            Shape::Bool
            | Shape::Int32
            | Shape::Int64
            | Shape::Uint32
            | Shape::Uint64
            | Shape::Named(_) => Raw::Number(0),
        }
    }
}

/// A number as a text, because JSON's own may lose digits.
fn quoted(number: &impl serde::Serialize, out: &mut Vec<u8>) -> Option<()> {
    out.push(b'"');
    serde_json::to_writer(&mut *out, number).ok()?;
    out.push(b'"');
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost_reflect::{DynamicMessage, Value};

    use super::*;
    use crate::gateway::json;
    use crate::gateway::schema::schema;

    /// A message whose fields are set, or not, as `draw` says.
    fn any(
        message: &MessageDescriptor,
        depth: u32,
        draw: &mut dyn FnMut() -> u64,
    ) -> DynamicMessage {
        let mut made = DynamicMessage::new(message.clone());
        for field in message.fields() {
            if field.is_map() || draw().is_multiple_of(4) {
                continue;
            }
            let mut single = || one(&field, depth, draw);
            let value = match field.is_list() {
                false => single(),
                true => (0..2).map(|_| single()).collect::<Option<Vec<_>>>().map(Value::List),
            };
            if let Some(value) = value {
                made.set_field(&field, value);
            }
        }
        made
    }

    fn one(field: &FieldDescriptor, depth: u32, draw: &mut dyn FnMut() -> u64) -> Option<Value> {
        let number = draw();
        let small = i32::try_from(number % 100_000).unwrap() - 50_000;
        Some(match field.kind() {
            Kind::String => {
                Value::String(["", "a\"\\\n\u{7f}", "ü\u{2028}🎉"][(number % 3) as usize].into())
            }
            Kind::Bytes => {
                Value::Bytes(number.to_le_bytes()[..(number % 9) as usize].to_vec().into())
            }
            Kind::Bool => Value::Bool(number.is_multiple_of(2)),
            Kind::Int32 => Value::I32(small),
            Kind::Int64 => Value::I64(number.cast_signed()),
            Kind::Uint32 => Value::U32(small.unsigned_abs()),
            Kind::Uint64 => Value::U64(number),
            Kind::Enum(_) => Value::EnumNumber(small % 5),
            Kind::Message(inside) => match inside.full_name() {
                "google.protobuf.Timestamp" | "google.protobuf.Duration" => {
                    let mut made = DynamicMessage::new(inside);
                    made.set_field_by_name("seconds", Value::I64(i64::from(small.abs())));
                    let nanos = [0, 5_000_000, 123_456_789, 120_000][(number % 4) as usize];
                    made.set_field_by_name("nanos", Value::I32(nanos));
                    Value::Message(made)
                }
                name if name.starts_with("google.") || depth == 0 => return None,
                _ => Value::Message(any(&inside, depth - 1, draw)),
            },
            Kind::Double
            | Kind::Float
            | Kind::Sint32
            | Kind::Sint64
            | Kind::Fixed32
            | Kind::Fixed64
            | Kind::Sfixed32
            | Kind::Sfixed64 => return None,
        })
    }

    proptest! {
        #[test]
        fn every_answer_is_written_as_the_library_writes_it(seed in 1..u64::MAX) {
            let schema = schema().unwrap();
            let mut state = seed;
            let mut draw = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state
            };
            let mut plain = 0;
            for rpc in &schema.rpcs {
                let output = rpc.descriptor.output();
                let message = any(&output, 3, &mut draw);
                let (mut ours, mut theirs) = (Vec::new(), Vec::new());
                if schema.printer.print(&output, &message.encode_to_vec(), &mut ours).is_some() {
                    plain += 1;
                    json::write(&message, &mut theirs).unwrap();
                    prop_assert_eq!(String::from_utf8(ours), String::from_utf8(theirs));
                }
            }
            prop_assert!(plain > 10, "only {} are plain", plain);
        }
    }

    #[test]
    fn what_is_no_message_is_not_written() {
        let schema = schema().unwrap();
        let get = schema.pool.get_message_by_name("pykv.v1.GetResponse").unwrap();
        for bytes in
            [&b"\x0a\x05"[..], b"\xff", b"\x08\x01", b"\x0a\x02\x0a\x05", b"\x0a\x03\x0a\x01\xff"]
        {
            assert_eq!(schema.printer.print(&get, bytes, &mut Vec::new()), None, "{bytes:?}");
        }
        let mut out = Vec::new();
        assert_eq!(schema.printer.print(&get, b"", &mut out), Some(()));
        assert_eq!(out, b"{}");
    }
}
