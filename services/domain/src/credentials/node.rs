//! JSON of any shape in which strings may be secrets: read once, never quoted.

use core::fmt;
use std::collections::BTreeMap;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Secret;

/// Objects within objects that are read; what is wanted of a Docker configuration is in the third.
const DEEPEST: usize = 8;

/// One value. What no credential is made of (numbers, lists) is not kept.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Node {
    Null,
    Text(Secret),
    Object(BTreeMap<String, Node>),
    Other,
}

impl Node {
    /// The string, if it is one that is not empty.
    pub(super) fn text(&self) -> Option<&Secret> {
        match self {
            Self::Text(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// The members, if it is an object.
    pub(super) fn members(&self) -> Option<&BTreeMap<String, Node>> {
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Level(0).deserialize(deserializer)
    }
}

/// Reads a value that is in so many objects.
struct Level(usize);

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.into()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Node, E> {
        Ok(Node::Text(text.into()))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Node::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Node, A::Error> {
        if self.0 == DEEPEST {
            return Err(de::Error::custom("objects are nested too deeply"));
        }
        members(map, self.0).map(Node::Object)
    }
}

/// Reads an object's members. A key given twice is refused, as parsers differ on which of the two they take.
fn members<'de, A: MapAccess<'de>>(mut map: A, level: usize) -> Result<BTreeMap<String, Node>, A::Error> {
    let mut members = BTreeMap::new();
    while let Some(key) = map.next_key::<String>()? {
        let value = map.next_value_seed(Level(level.saturating_add(1)))?;
        if members.insert(key, value).is_some() {
            return Err(de::Error::custom("a key is given twice"));
        }
    }
    Ok(members)
}

/// An object of strings: environment-style keys. `null` counts as not given.
pub(super) struct Keys(pub(super) BTreeMap<String, Secret>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Node::deserialize(deserializer)? {
            Node::Object(members) => Self::from_members(members),
            _ => Err(de::Error::custom("credentials must be an object of strings")),
        }
    }
}

impl Keys {
    /// The members, which must be strings. The error quotes none of them.
    pub(super) fn from_members<E: de::Error>(members: BTreeMap<String, Node>) -> Result<Self, E> {
        let key = |(key, node)| match node {
            Node::Text(value) => Ok((key, value)),
            Node::Null => Ok((key, Secret::from(""))),
            Node::Object(_) | Node::Other => Err(E::custom("a credential value must be a string")),
        };
        members.into_iter().map(key).collect::<Result<_, _>>().map(Self)
    }
}

/// Reads a string from a self-describing format. Anything else is refused without being quoted: a number may well be a
/// password. (Asked for a string, serde_json would refuse it itself, and quote it.)
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Node::deserialize(deserializer)? {
            Node::Text(text) => Ok(text),
            _ => Err(de::Error::custom("a credential value must be a string")),
        }
    }
}
