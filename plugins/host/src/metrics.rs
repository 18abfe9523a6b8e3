//! Metrics that guests define (`proxy_define_metric` and its kin).

use std::collections::BTreeMap;
use std::collections::HashMap;

use crate::abi::{MetricKind, Status};

/// One metric of a plugin, summed over its tenants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricSample {
    /// The guest's name for it, unchanged: escape it before it becomes a label.
    pub name: String,
    /// What it is.
    pub value: MetricValue,
}

/// A metric's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricValue {
    /// Total so far, tenants whose instances are gone included.
    Counter(u64),
    /// Sum over the tenants that have instances.
    Gauge(u64),
    /// Observations so far, tenants whose instances are gone included. Buckets are not kept.
    Histogram {
        /// How many.
        count: u64,
        /// Their sum.
        sum: u64,
    },
}

impl MetricValue {
    fn zero(kind: MetricKind) -> Self {
        match kind {
            MetricKind::Counter => Self::Counter(0),
            MetricKind::Gauge => Self::Gauge(0),
            MetricKind::Histogram => Self::Histogram { count: 0, sum: 0 },
        }
    }

    fn merge(&mut self, other: Self) {
        match (self, other) {
            (Self::Counter(total), Self::Counter(more)) | (Self::Gauge(total), Self::Gauge(more)) => {
                *total = total.saturating_add(more);
            }
            (Self::Histogram { count, sum }, Self::Histogram { count: more_count, sum: more_sum }) => {
                *count = count.saturating_add(more_count);
                *sum = sum.saturating_add(more_sum);
            }
            // The key holds the kind, so the two are always of one.
            _ => {}
        }
    }
}

/// The metrics of one tenant's instances.
#[derive(Debug, Default)]
pub(crate) struct MetricTable {
    ids: HashMap<(MetricKind, String), u32>,
    values: Vec<MetricValue>,
}

impl MetricTable {
    /// Its id, a new one where that kind and name is new. Ids carry the kind in their low two bits, as in Envoy;
    /// the rest counts from 1.
    pub(crate) fn define(&mut self, kind: MetricKind, name: &str, limit: usize) -> Result<u32, Status> {
        let key = (kind, name.to_owned());
        if let Some(id) = self.ids.get(&key) {
            return Ok(*id);
        }
        if self.values.len() >= limit {
            return Err(Status::InternalFailure);
        }
        self.values.push(MetricValue::zero(kind));
        let number = u32::try_from(self.values.len()).map_err(|_| Status::InternalFailure)?;
        let id = (number << 2) | kind as u32;
        self.ids.insert(key, id);
        Ok(id)
    }

    fn value(&mut self, id: u32) -> Result<&mut MetricValue, Status> {
        let kind = MetricKind::from_raw(id & 3).ok_or(Status::BadArgument)?;
        let index = (id >> 2).checked_sub(1).ok_or(Status::NotFound)? as usize;
        match self.values.get_mut(index) {
            Some(value)
                if std::mem::discriminant(value) == std::mem::discriminant(&MetricValue::zero(kind)) =>
            {
                Ok(value)
            }
            _ => Err(Status::NotFound),
        }
    }

    /// Adds to a counter, moves a gauge. A counter does not go down, a histogram is not incremented.
    pub(crate) fn increment(&mut self, id: u32, offset: i64) -> Result<(), Status> {
        match self.value(id)? {
            MetricValue::Counter(value) if offset > 0 => *value = value.saturating_add(offset.unsigned_abs()),
            MetricValue::Gauge(value) => *value = value.saturating_add_signed(offset),
            MetricValue::Counter(_) | MetricValue::Histogram { .. } => return Err(Status::BadArgument),
        }
        Ok(())
    }

    /// Adds to a counter, sets a gauge, observes in a histogram.
    pub(crate) fn record(&mut self, id: u32, new: u64) -> Result<(), Status> {
        match self.value(id)? {
            MetricValue::Counter(value) => *value = value.saturating_add(new),
            MetricValue::Gauge(value) => *value = new,
            MetricValue::Histogram { count, sum } => {
                *count = count.saturating_add(1);
                *sum = sum.saturating_add(new);
            }
        }
        Ok(())
    }

    /// The value of a counter or gauge. A histogram has no one value.
    pub(crate) fn get(&mut self, id: u32) -> Result<u64, Status> {
        match self.value(id)? {
            MetricValue::Counter(value) | MetricValue::Gauge(value) => Ok(*value),
            MetricValue::Histogram { .. } => Err(Status::BadArgument),
        }
    }
}

/// Sums over tenants.
#[derive(Debug, Default, Clone)]
pub(crate) struct MetricTotals(BTreeMap<(String, MetricKind), MetricValue>);

impl MetricTotals {
    /// Adds a tenant's metrics.
    pub(crate) fn add(&mut self, table: &MetricTable) {
        for ((kind, name), id) in &table.ids {
            if let Some(value) = table.values.get((id >> 2) as usize - 1) {
                self.0.entry((name.clone(), *kind)).or_insert_with(|| MetricValue::zero(*kind)).merge(*value);
            }
        }
    }

    /// Adds a tenant's metrics for good: what it counted stays counted, its gauges are gone with it.
    pub(crate) fn retire(&mut self, table: &MetricTable) {
        self.add(table);
        self.0.retain(|(_, kind), _| *kind != MetricKind::Gauge);
    }

    pub(crate) fn into_samples(self) -> Vec<MetricSample> {
        self.0.into_iter().map(|((name, _), value)| MetricSample { name, value }).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_name_and_kind_is_one_metric_and_ids_tell_the_kind() {
        let mut table = MetricTable::default();
        let counter = table.define(MetricKind::Counter, "x", 3).unwrap();
        let gauge = table.define(MetricKind::Gauge, "x", 3).unwrap();
        let histogram = table.define(MetricKind::Histogram, "x", 3).unwrap();
        assert_eq!([counter & 3, gauge & 3, histogram & 3], [0, 1, 2]);
        assert_eq!(table.define(MetricKind::Counter, "x", 3), Ok(counter));
        assert_eq!(table.define(MetricKind::Counter, "y", 3), Err(Status::InternalFailure));
    }

    #[test]
    fn each_kind_takes_what_it_should() {
        let mut table = MetricTable::default();
        let counter = table.define(MetricKind::Counter, "c", 9).unwrap();
        let gauge = table.define(MetricKind::Gauge, "g", 9).unwrap();
        let histogram = table.define(MetricKind::Histogram, "h", 9).unwrap();
        assert_eq!(table.increment(counter, 2), Ok(()));
        assert_eq!(table.increment(counter, -1), Err(Status::BadArgument));
        assert_eq!(table.record(counter, 3), Ok(()));
        assert_eq!(table.get(counter), Ok(5));
        assert_eq!(table.record(gauge, 7), Ok(()));
        assert_eq!(table.increment(gauge, -9), Ok(()));
        assert_eq!(table.get(gauge), Ok(0), "a gauge stops at zero");
        assert_eq!(table.record(histogram, 7), Ok(()));
        assert_eq!(table.increment(histogram, 1), Err(Status::BadArgument));
        assert_eq!(table.get(histogram), Err(Status::BadArgument));
        for unknown in [0, 1, 2, counter | 1, 4 << 2, !3] {
            assert_eq!(table.get(unknown), Err(Status::NotFound), "{unknown}");
        }
        assert_eq!(table.get(3), Err(Status::BadArgument));
    }

    #[test]
    fn totals_sum_tenants_and_keep_the_counters_of_those_gone() {
        let (mut one, mut two) = (MetricTable::default(), MetricTable::default());
        for (table, amount) in [(&mut one, 2), (&mut two, 5)] {
            let counter = table.define(MetricKind::Counter, "c", 9).unwrap();
            let gauge = table.define(MetricKind::Gauge, "g", 9).unwrap();
            table.record(counter, amount).unwrap();
            table.record(gauge, amount).unwrap();
        }
        let mut totals = MetricTotals::default();
        totals.retire(&one);
        totals.add(&two);
        let sample = |name: &str, value| MetricSample { name: name.to_owned(), value };
        let expected = vec![sample("c", MetricValue::Counter(7)), sample("g", MetricValue::Gauge(5))];
        assert_eq!(totals.into_samples(), expected);
    }
}
