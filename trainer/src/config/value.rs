//! Converts a TOML value to a struct, with errors that name the whole key.
//!
//! serde's own messages name the last part of a key at best. This deserializer keeps the path, refuses unknown keys of
//! every struct (also of those that do not ask for it), and takes the names of enum variants in any case.

use std::fmt::{self, Display};

use serde::Deserializer;
use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Error, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
use sit_engine::text::{float, shown};
use toml::Value;

use super::keys::hint;
use super::number;

/// The value as a `T`.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, KeyError> {
    T::deserialize(De(value))
}

/// What is wrong with a key.
#[derive(Debug, PartialEq)]
pub struct KeyError {
    /// The whole key, such as `train.betas[1]`.
    pub key: String,
    problem: Problem,
}

#[derive(Debug, PartialEq)]
enum Problem {
    Unknown { known: &'static [&'static str] },
    Missing,
    Invalid(String),
}

impl KeyError {
    fn new(key: impl Into<String>, problem: Problem) -> Self {
        Self {
            key: key.into(),
            problem,
        }
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::new("", Problem::Invalid(message.into()))
    }

    /// The keys that its table has, if it is unknown.
    pub fn known(&self) -> Option<&'static [&'static str]> {
        match self.problem {
            Problem::Unknown { known } => Some(known),
            _ => None,
        }
    }

    /// The error of a value inside `parent`.
    fn within(mut self, parent: &str) -> Self {
        let dot = if self.key.is_empty() || self.key.starts_with('[') {
            ""
        } else {
            "."
        };
        self.key = format!("{parent}{dot}{}", self.key);
        self
    }
}

impl Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match &self.problem {
            Problem::Missing => write!(f, "{key}: missing"),
            Problem::Invalid(message) => write!(f, "{key}: {message}"),
            Problem::Unknown { known } => {
                write!(f, "unknown key {}, {}", shown(key), hint(key, known))
            }
        }
    }
}

impl std::error::Error for KeyError {}

/// "did you mean PREFIXknown?" if one of the known names is similar, else all of them.
pub fn suggestion(name: &str, known: &[impl AsRef<str>], prefix: &str) -> String {
    let name = name.to_lowercase();
    let similarity = |known: &str| strsim::jaro_winkler(&name, &known.to_lowercase());
    // `max_by` takes the last of equals; the first is the better guess.
    let best = known
        .iter()
        .rev()
        .map(|known| (similarity(known.as_ref()), known.as_ref()))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match best {
        Some((similarity, known)) if similarity > 0.8 => format!("did you mean {prefix}{known}?"),
        _ => format!(
            "expected one of {}",
            known
                .iter()
                .map(AsRef::as_ref)
                .collect::<Vec<_>>()
                .join(", ")
        ),
    }
}

/// serde's phrase for what a type expects, reworded for users of this program.
fn expected(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    match text.as_str() {
        "f64" | "f32" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "path string" => "a path in quotes".to_owned(),
        text if text.starts_with("struct ") => "a table".to_owned(),
        _ => text,
    }
}

/// Of a list whose texts have no quotes, which a shell takes away: the list as it is typed there.
fn quoted(unexpected: Unexpected, exp: &dyn Expected) -> Option<String> {
    let Unexpected::Str(text) = unexpected else {
        return None;
    };
    let items = text.trim().strip_prefix('[')?.strip_suffix(']')?;
    let items = items
        .split(',')
        .map(|item| format!("\"{}\"", shown(item.trim())));
    let is_list = exp.to_string() == "a sequence";
    is_list.then(|| {
        format!(
            "a list, in a shell '[{}]'",
            items.collect::<Vec<_>>().join(", ")
        )
    })
}

fn got(unexpected: Unexpected) -> String {
    match unexpected {
        Unexpected::Str(text) => format!("\"{}\"", shown(text)),
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(value) => value.to_string(),
        Unexpected::Signed(value) => value.to_string(),
        Unexpected::Float(value) => float(value),
        Unexpected::Seq => "an array".to_owned(),
        Unexpected::Map => "a table".to_owned(),
        other => other.to_string(),
    }
}

impl Error for KeyError {
    fn custom<T: Display>(message: T) -> Self {
        Self::invalid(message.to_string())
    }

    fn invalid_type(unexpected: Unexpected, exp: &dyn Expected) -> Self {
        Self::invalid(format!(
            "got {}, expected {}",
            got(unexpected),
            quoted(unexpected, exp).unwrap_or_else(|| expected(exp))
        ))
    }

    fn invalid_value(unexpected: Unexpected, exp: &dyn Expected) -> Self {
        Self::invalid_type(unexpected, exp)
    }

    fn invalid_length(len: usize, exp: &dyn Expected) -> Self {
        Self::invalid(format!("got {len} values, expected {exp}"))
    }

    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Self {
        Self::invalid(format!(
            "got \"{}\", {}",
            shown(variant),
            suggestion(variant, known, "")
        ))
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        Self::new(field, Problem::Unknown { known })
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(field, Problem::Missing)
    }
}

struct De(Value);

impl De {
    fn unexpected(&self) -> Unexpected<'_> {
        match &self.0 {
            Value::String(text) => Unexpected::Str(text),
            Value::Integer(value) => Unexpected::Signed(*value),
            Value::Float(value) => Unexpected::Float(*value),
            Value::Boolean(value) => Unexpected::Bool(*value),
            Value::Datetime(_) => Unexpected::Other("a date"),
            Value::Array(_) => Unexpected::Seq,
            Value::Table(_) => Unexpected::Map,
        }
    }

    fn refuse<T>(&self, expected: impl Display) -> Result<T, KeyError> {
        let got = got(self.unexpected());
        Err(KeyError::invalid(format!("got {got}, expected {expected}")))
    }

    /// A whole number up to `most`: a TOML integer, a float such as `1e5`, or the text that `--set` keeps if TOML has no such
    /// number.
    fn whole(&self, most: u64) -> Result<u64, KeyError> {
        let number = match &self.0 {
            Value::Integer(number) => Some(i128::from(*number)),
            Value::Float(number) => number::whole_float(*number),
            Value::String(text) => number::whole(text),
            _ => None,
        };
        match number {
            Some(number) if number > i128::from(most) => {
                self.refuse(format_args!("a whole number of 0 to {most}"))
            }
            Some(number) if number >= 0 => Ok(number as u64),
            _ => self.refuse("a whole number of at least 0"),
        }
    }

    /// A number; also a text such as `.5` or `1.e-4`, which TOML does not accept.
    fn float(&self) -> Result<f64, KeyError> {
        let number = match &self.0 {
            Value::Integer(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            Value::String(text) => number::float(text),
            _ => None,
        };
        match (number, &self.0) {
            (Some(number), _) => Ok(number),
            (None, Value::String(text)) if number::float(&text.replace(',', ".")).is_some() => {
                self.refuse("a number with a point, such as 0.5")
            }
            _ => self.refuse("a number"),
        }
    }
}

impl<'de> Deserializer<'de> for De {
    type Error = KeyError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, KeyError> {
        match self.0 {
            Value::String(text) => visitor.visit_string(text),
            Value::Integer(value) => visitor.visit_i64(value),
            Value::Float(value) => visitor.visit_f64(value),
            Value::Boolean(value) => visitor.visit_bool(value),
            Value::Datetime(_) => Err(KeyError::invalid_type(self.unexpected(), &visitor)),
            Value::Array(values) => {
                let len = values.len();
                let mut items = Items {
                    values: values.into_iter(),
                    next: 0,
                };
                let value = visitor.visit_seq(&mut items)?;
                match items.values.len() {
                    0 => Ok(value),
                    rest => Err(KeyError::invalid(format!(
                        "got {len} values, expected {}",
                        len - rest
                    ))),
                }
            }
            Value::Table(table) => {
                // The family comes first: it says which other keys a table has.
                let mut entries: Vec<(String, Value)> = table.into_iter().collect();
                entries.sort_by_key(|(key, _)| key != "family");
                visitor.visit_map(Entries {
                    entries: entries.into_iter(),
                    value: None,
                })
            }
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, KeyError> {
        match &self.0 {
            Value::Table(table) => {
                if let Some(unknown) = table.keys().find(|key| !fields.contains(&key.as_str())) {
                    return Err(KeyError::unknown_field(unknown, fields));
                }
                self.deserialize_any(visitor)
            }
            // A struct's visitor would accept an array as its fields in order.
            _ => Err(KeyError::invalid_type(self.unexpected(), &visitor)),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, KeyError> {
        let Value::String(text) = &self.0 else {
            let names = variants.join(", ");
            return Err(KeyError::invalid(format!(
                "got {}, expected one of {names}",
                got(self.unexpected())
            )));
        };
        let known = variants
            .iter()
            .find(|variant| variant.eq_ignore_ascii_case(text));
        let name: StrDeserializer<'_, KeyError> =
            known.copied().unwrap_or(text.as_str()).into_deserializer();
        visitor.visit_enum(name)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, KeyError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, KeyError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, KeyError> {
        visitor.visit_u64(self.whole(u8::MAX.into())?)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, KeyError> {
        visitor.visit_u64(self.whole(u16::MAX.into())?)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, KeyError> {
        visitor.visit_u64(self.whole(u32::MAX.into())?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, KeyError> {
        // TOML has no greater integer, and a configuration is written as TOML.
        visitor.visit_u64(self.whole(i64::MAX as u64)?)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, KeyError> {
        visitor.visit_f64(self.float()?)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, KeyError> {
        visitor.visit_f64(self.float()?)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, KeyError> {
        // Python's True.
        match &self.0 {
            Value::Boolean(value) => visitor.visit_bool(*value),
            Value::String(text) if text.eq_ignore_ascii_case("true") => visitor.visit_bool(true),
            Value::String(text) if text.eq_ignore_ascii_case("false") => visitor.visit_bool(false),
            _ => self.refuse("true or false"),
        }
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u128 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

struct Items {
    values: std::vec::IntoIter<Value>,
    next: usize,
}

impl<'de> SeqAccess<'de> for &mut Items {
    type Error = KeyError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, KeyError> {
        let Some(value) = self.values.next() else {
            return Ok(None);
        };
        let index = self.next;
        self.next += 1;
        seed.deserialize(De(value))
            .map(Some)
            .map_err(|error| error.within(&format!("[{index}]")))
    }
}

struct Entries {
    entries: std::vec::IntoIter<(String, Value)>,
    value: Option<(String, Value)>,
}

impl<'de> MapAccess<'de> for Entries {
    type Error = KeyError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, KeyError> {
        self.value = self.entries.next();
        let Some((key, _)) = &self.value else {
            return Ok(None);
        };
        seed.deserialize(key.as_str().into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, KeyError> {
        let (key, value) = self.value.take().expect("serde asks for a key first");
        seed.deserialize(De(value))
            .map_err(|error| error.within(&key))
    }
}
