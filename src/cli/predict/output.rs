//! Where predictions go: standard output, or a file that is written aside and then renamed, so that
//! a failure leaves what was there.

use std::fs::{self, Permissions};
use std::io::{IsTerminal, Write, stdout};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;

use super::{Ended, Predict};
use crate::cli::Error;
use crate::data::sink::Sink;
use crate::data::{DataError, Format};

/// Where predictions go.
pub(super) enum Output {
    /// CSV on standard output.
    Standard,
    /// A file.
    File {
        /// As the command line names it.
        path: PathBuf,
        /// Where it lies: behind links.
        place: PathBuf,
        /// The folder of that place.
        folder: PathBuf,
        format: Format,
    },
}

impl Output {
    /// Finds where the predictions go, and checks that they can.
    pub(super) fn new(arguments: &Predict) -> Result<Output, Error> {
        let path = match &arguments.output {
            Some(path) if path != Path::new("-") => path.clone(),
            _ => return Ok(Output::Standard),
        };
        let wrong = |message: &str, help: &str| {
            Error::usage(format!("`{}`: {message}", path.display()), help)
        };
        let Some(format) = Format::from_extension(&path) else {
            let message = "its ending says no format that predictions can have";
            return Err(wrong(message, "name it `.csv` or `.parquet`; `-` is standard output"));
        };
        let place = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
        let folder = match place.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        if !folder.is_dir() {
            return Err(wrong("its folder is not there", "make the folder first"));
        }
        if fs::metadata(&place).is_ok_and(|there| !there.is_file()) {
            return Err(wrong("it is no regular file", "`-` is standard output"));
        }
        for (input, what) in [(&arguments.input, "table"), (&arguments.model, "model")] {
            if fs::canonicalize(input).is_ok_and(|input| input == place) {
                let message =
                    format!("the predictions would replace the {what} they are made from");
                return Err(wrong(&message, "give the output another name"));
            }
        }
        Ok(Output::File { path, place, folder, format })
    }

    /// Tells whether rows appear on a terminal.
    pub(super) fn is_terminal(&self) -> bool {
        matches!(self, Output::Standard) && stdout().is_terminal()
    }

    /// Has `work` write rows of `schema`; a file comes to its place only when all are there.
    pub(super) fn write(
        &self,
        out: &mut dyn Write,
        schema: SchemaRef,
        work: impl FnOnce(&mut Sink<'_>) -> Result<(), Ended>,
    ) -> Result<(), Ended> {
        let Output::File { place, folder, format, .. } = self else {
            let mut sink = Sink::csv(Box::new(out), Path::new("standard output"), schema);
            work(&mut sink)?;
            return sink.finish().map_err(Ended::Output);
        };
        let failed = |act| move |error| Ended::Output(DataError::file(place, act, error));
        let aside = tempfile::Builder::new()
            .prefix(".tmp-")
            .permissions(Permissions::from_mode(0o644))
            .tempfile_in(folder)
            .map_err(failed("make a file beside it"))?;
        let mut sink = Sink::create(aside.path(), *format, schema).map_err(Ended::Output)?;
        work(&mut sink)?;
        sink.finish().map_err(Ended::Output)?;
        aside.persist(place).map_err(|error| failed("write the file")(error.error))?;
        Ok(())
    }

    /// Makes the command line's error of one in writing.
    pub(super) fn failed(&self, error: DataError) -> Error {
        match (self, error) {
            (Output::Standard, DataError::File { source, .. }) => Error::Output(source),
            (Output::File { path, .. }, DataError::File { act, source, .. }) => {
                Error::Failed { message: DataError::file(path, act, source).to_string() }
            }
            (Output::File { path, .. }, DataError::Table { message, .. }) => {
                Error::Failed { message: DataError::table(path, message).to_string() }
            }
            (_, error) => Error::Failed { message: error.to_string() },
        }
    }
}
