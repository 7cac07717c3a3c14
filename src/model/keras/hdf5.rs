//! A tree of groups, attributes and arrays as the bytes of an HDF5 file.
//!
//! Knows nothing of Keras or models: paths, texts and numbers in, bytes out.

use hdf5_pure::{AttrValue, Error, FileBuilder, GroupBuilder};
use indexmap::IndexMap;

/// A group and all that lies in it, in the order in which it came.
#[derive(Default)]
pub(super) struct Group<'a> {
    pub attributes: Vec<(&'static str, Attribute)>,
    groups: IndexMap<String, Group<'a>>,
    arrays: IndexMap<String, Array<'a>>,
}

/// The value of an attribute.
pub(super) enum Attribute {
    /// A text of any length.
    Text(String),
    /// Some texts.
    Texts(Vec<String>),
}

/// Numbers in a shape, row-major.
#[derive(Clone, Copy)]
pub(super) struct Array<'a> {
    pub shape: &'a [usize],
    pub values: &'a [f32],
}

impl<'a> Group<'a> {
    /// Gives the group at a path below this one and makes those that are absent; the empty path is
    /// this group.
    pub fn at(&mut self, path: &str) -> &mut Group<'a> {
        let names = path.split('/').filter(|name| !name.is_empty());
        names.fold(self, |group, name| group.groups.entry(name.to_owned()).or_default())
    }

    /// Puts an array at a path below this group.
    pub fn put(&mut self, path: &str, array: Array<'a>) {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        self.at(folder).arrays.insert(name.to_owned(), array);
    }

    /// Says at the group of a layer's own variables whose they are, as Keras does.
    pub fn name_variables(&mut self, name: &str) {
        let attributes = &mut self.at("vars").attributes;
        if attributes.is_empty() {
            attributes.push(("name", Attribute::Text(name.to_owned())));
        }
    }

    /// Writes the tree whose root this is.
    ///
    /// # Errors
    ///
    /// [`Error`] where HDF5 cannot hold it.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let mut file = FileBuilder::new();
        for (name, value) in &self.attributes {
            file.set_attr(name, value.in_hdf5());
        }
        for (name, array) in &self.arrays {
            file.create_dataset(name).with_f32_data(array.values).with_shape(&array.extents());
        }
        for (name, group) in &self.groups {
            let mut builder = file.create_group(name);
            group.fill(&mut builder);
            file.add_group(builder.finish());
        }
        file.finish()
    }

    fn fill(&self, builder: &mut GroupBuilder) {
        for (name, value) in &self.attributes {
            builder.set_attr(name, value.in_hdf5());
        }
        for (name, array) in &self.arrays {
            builder.create_dataset(name).with_f32_data(array.values).with_shape(&array.extents());
        }
        for (name, group) in &self.groups {
            let mut child = builder.create_group(name);
            group.fill(&mut child);
            builder.add_group(child.finish());
        }
    }
}

impl Attribute {
    /// Texts lie outside the attribute itself, which has room for 64 KiB alone.
    fn in_hdf5(&self) -> AttrValue {
        match self {
            Attribute::Text(text) => AttrValue::VarLenString(text.clone()),
            // What NumPy, and so Keras, makes of an empty list.
            Attribute::Texts(texts) if texts.is_empty() => AttrValue::F64Array(Vec::new()),
            Attribute::Texts(texts) => AttrValue::VarLenStringArray(texts.clone()),
        }
    }
}

impl Array<'_> {
    fn extents(&self) -> Vec<u64> {
        self.shape.iter().map(|&extent| extent as u64).collect()
    }
}
