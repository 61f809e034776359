//! The names that `--metrics` takes.

use crate::config::Metric;
use clap::builder::{EnumValueParser, PossibleValue, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};
use std::ffi::OsStr;

/// Takes the names of metrics, and says of a column's name which metric it is of.
#[derive(Clone)]
pub struct MetricParser;

impl TypedValueParser for MetricParser {
    type Value = Metric;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Metric, Error> {
        let parsed = EnumValueParser::<Metric>::new().parse_ref(command, arg, value);
        let is_of = |metric: &Metric| {
            let mut columns = metric.columns().iter();
            columns.any(|column| value == column.trim_end_matches(" %"))
        };
        match Metric::ALL.into_iter().find(is_of) {
            Some(metric) if parsed.is_err() => Err(command.clone().error(
                ErrorKind::InvalidValue,
                format!(
                    "--metrics: got {}, expected {}, whose column it is",
                    value.display(),
                    metric.name()
                ),
            )),
            _ => parsed,
        }
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let names = <Metric as clap::ValueEnum>::value_variants().iter();
        Some(Box::new(
            names.filter_map(clap::ValueEnum::to_possible_value),
        ))
    }
}
