//! Where a key belongs: the family it is of, and its elements, if they are what [`super::families`] says.

use std::fmt;

use super::element::{Element, ElementKind, split};
use super::families::FamilyInfo;
use super::{GlobalFamily, Keyspace, TenantFamily, TenantScope};

/// A key's family and tenant.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Global(GlobalFamily),
    Tenant(TenantScope, TenantFamily),
}

impl Place {
    pub(crate) fn info(&self) -> FamilyInfo {
        match self {
            Self::Global(family) => family.info(),
            Self::Tenant(_, family) => family.info(),
        }
    }
}

/// A key of a known family, with the elements after the family's name.
#[derive(Debug, Clone)]
pub(crate) struct Located<'k> {
    pub(crate) place: Place,
    pub(crate) elements: Vec<Element<'k>>,
}

/// Why a key belongs nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stray {
    /// No family of that name, or not even a name.
    Family,
    /// The elements are not its family's.
    Shape(&'static str),
}

impl fmt::Display for Stray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Family => f.write_str("no known family has this key"),
            Self::Shape(key) => write!(f, "the family's keys are: {key}"),
        }
    }
}

impl Keyspace {
    /// Where a key below the root belongs.
    pub(crate) fn locate<'k>(&self, key: &'k [u8]) -> Result<Located<'k>, Stray> {
        let below = key.strip_prefix(self.root.bytes()).ok_or(Stray::Family)?;
        let (mut elements, rest) = split(below);
        let (place, taken) = match elements.as_slice() {
            [Element::Text(area), Element::Text(name), ..] if area == "global" => {
                (Place::Global(GlobalFamily::named(name).ok_or(Stray::Family)?), 2)
            }
            [Element::Text(area), Element::Uuid(tenant), Element::Text(name), ..] if area == "tenant" => {
                let family = TenantFamily::named(name).ok_or(Stray::Family)?;
                (Place::Tenant(self.tenant(*tenant), family), 3)
            }
            _ => return Err(Stray::Family),
        };
        elements.drain(..taken);
        let info = place.info();
        let fits = rest.is_empty() && elements.iter().map(Element::kind).eq(info.elements());
        if fits { Ok(Located { place, elements }) } else { Err(Stray::Shape(info.key)) }
    }
}

impl FamilyInfo {
    /// The kinds of the elements after the name, read from [`FamilyInfo::key`].
    pub(crate) fn elements(&self) -> impl Iterator<Item = ElementKind> {
        let parts = if self.key == SINGLE_KEY { "" } else { self.key };
        parts.split(", ").filter_map(|part| ElementKind::named(part.split(' ').next()?))
    }
}

/// How [`super::families`] writes that a family is a single key.
const SINGLE_KEY: &str = "–";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use uuid::Uuid;

    use super::*;

    #[test]
    fn every_family_says_its_elements() {
        let global = GlobalFamily::ALL.iter().map(|family| family.info());
        for info in global.chain(TenantFamily::ALL.iter().map(|family| family.info())) {
            let parts = if info.key == SINGLE_KEY { 0 } else { info.key.split(", ").count() };
            assert_eq!(info.elements().count(), parts, "{}: {}", info.name, info.key);
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = GlobalFamily::ALL.iter().map(|family| family.name()).collect();
        names.extend(TenantFamily::ALL.iter().map(|family| family.name()));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn a_key_is_located_by_its_family_and_shape() {
        let keys = Keyspace::new("r");
        let (tenant, id) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let key = keys.tenant(tenant).session_by_user(id, 5, id);
        let located = keys.locate(key.as_ref()).unwrap();
        let Place::Tenant(scope, TenantFamily::SessionsByUser) = located.place else {
            unreachable!("{:?}", located.place)
        };
        assert_eq!(scope.id(), tenant);
        assert_eq!(located.elements, [Element::Uuid(id), Element::Int(5), Element::Uuid(id)]);

        let stray = |key: Vec<u8>| keys.locate(&key).unwrap_err();
        let shape = Stray::Shape("uuid user");
        assert_eq!(stray(foundationdb_tuple::pack(&("r", "tenant", tenant, "users", "ann"))), shape);
        assert_eq!(stray(foundationdb_tuple::pack(&("r", "tenant", tenant, "users"))), shape);
        let mut cut: Vec<u8> = keys.tenant(tenant).user(id).into();
        cut.pop();
        assert_eq!(stray(cut), shape);
        for key in [
            foundationdb_tuple::pack(&("r", "tenant", tenant, "nonsense", id)),
            foundationdb_tuple::pack(&("r", "tenant", "users", id)),
            foundationdb_tuple::pack(&("r", "global", "users", id)),
            foundationdb_tuple::pack(&("r",)),
            foundationdb_tuple::pack(&("other", "tenant", tenant, "users", id)),
            b"r".to_vec(),
        ] {
            assert_eq!(stray(key), Stray::Family);
        }
    }
}
