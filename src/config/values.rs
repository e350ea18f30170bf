//! The effective values, once the layers lie over each other.

use std::collections::BTreeSet;

use config::{Map, Value, ValueKind};

use super::origin::Origin;

/// The effective values of all layers.
#[derive(Debug)]
pub(super) struct Values {
    pub(super) root: Value,
    pub(super) origins: Vec<Origin>,
    pub(super) opened: BTreeSet<String>,
    pub(super) spoilt: BTreeSet<String>,
}

impl Values {
    pub(super) fn none() -> Self {
        Self {
            root: Value::new(None, Map::<String, Value>::new()),
            origins: Vec::new(),
            opened: BTreeSet::new(),
            spoilt: BTreeSet::new(),
        }
    }

    /// The value of a key such as `ice.servers[0].url`, and where it comes from.
    pub(super) fn get(&self, key: &str) -> Option<(&ValueKind, &Origin)> {
        let value = key.split('.').try_fold(&self.root, |value, name| {
            let (name, index) = name.split_once('[').map_or((name, None), |(name, index)| (name, Some(index)));
            let ValueKind::Table(table) = &value.kind else { return None };
            let child = table.get(name)?;
            let Some(index) = index else { return Some(child) };
            let ValueKind::Array(elements) = &child.kind else { return None };
            elements.get(index.trim_end_matches(']').parse::<usize>().ok()?)
        })?;
        let origin = value.origin().and_then(|index| self.origins.get(index.parse::<usize>().ok()?))?;
        Some((&value.kind, origin))
    }

    /// Whether any layer opens this table, be it empty.
    pub(super) fn opens(&self, table: &str) -> bool {
        self.opened.contains(table)
    }

    /// Whether a layer gives this key in a way that has been reported already.
    pub(super) fn is_spoilt(&self, key: &str) -> bool {
        self.spoilt.contains(key)
    }
}
