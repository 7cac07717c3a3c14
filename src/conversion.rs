//! Conversions: a file in another format than the one it has, as an export's name or an input's
//! `as:` asks for.
//!
//! Stands between those who keep files (the store, the pipeline) and those who know what is in
//! them (tables, models): a conversion has a name, a version, and a way from file to file. It knows
//! nothing of who asked or where the files lie.

use std::path::Path;

use crate::data::{self, DataError};
use crate::model::keras::{self, KerasError};

/// What a file is turned into.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum Conversion {
    /// A table, into another format of tables.
    Table(data::Format),
    /// A model of ours, into one of Keras's.
    Model(keras::Format),
}

/// Why a file could not be converted.
#[derive(Debug, thiserror::Error)]
pub enum ConversionError {
    /// A table could not.
    #[error(transparent)]
    Table(#[from] DataError),
    /// A model could not.
    #[error(transparent)]
    Model(#[from] KerasError),
}

impl Conversion {
    /// All that there are.
    pub const ALL: [Conversion; 4] = [
        Conversion::Table(data::Format::Csv),
        Conversion::Table(data::Format::Parquet),
        Conversion::Model(keras::Format::H5),
        Conversion::Model(keras::Format::Keras),
    ];

    /// Gives the name of what it gives.
    pub fn name(self) -> &'static str {
        match self {
            Conversion::Table(format) => format.name(),
            Conversion::Model(format) => format.name(),
        }
    }

    /// Gives the version of what it gives: with the name and the content, all that it depends on.
    pub fn version(self) -> u32 {
        match self {
            Conversion::Table(_) => data::CONVERTER_VERSION,
            Conversion::Model(_) => keras::VERSION,
        }
    }

    /// Converts the file at `from` to one at `to`.
    ///
    /// # Errors
    ///
    /// [`ConversionError`] where `from` is not what the conversion takes, or `to` cannot be written.
    pub fn run(self, from: &Path, to: &Path) -> Result<(), ConversionError> {
        match self {
            Conversion::Table(format) => Ok(data::convert(from, to, format)?),
            Conversion::Model(format) => Ok(keras::convert(from, to, format)?),
        }
    }
}
