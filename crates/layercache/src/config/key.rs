//! One key of the configuration: its name, what it means, which values it takes, and its default.
//!
//! Everything that knows of a key follows from its [`Key`]: reading a table, the example file,
//! `config show`, the variables of the environment, and what is said of an unknown key.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::error::one_line;
use super::secret::{Form, Secret};

/// Longest file in bytes that a key may name.
const MAX_FILE_LEN: u64 = 1 << 20;

/// One key of a table whose values are read into a `T`.
///
/// A key reads its value into a field of `T`. The default of the key is what the field of
/// `T::default()` holds. The constructors say which type the value has; `about` is one or more
/// lines of at most 100 characters for the operator. The field is of the type that a constructor
/// names, or an `Option` of it that is `None` unless the key is set.
///
/// ```
/// # use layercache::Key;
/// struct Shelf {
///     max_bytes: u64,
///     label: Option<String>,
/// }
/// # impl Default for Shelf { fn default() -> Self { Self { max_bytes: 64 << 20, label: None } } }
/// let keys: [Key<Shelf>; 2] = [
///     Key::size("max_bytes", "How much is kept.", |shelf| &mut shelf.max_bytes),
///     Key::text("label", "What stands on it.", |shelf| &mut shelf.label),
/// ];
/// ```
pub struct Key<T> {
    pub(crate) info: KeyInfo,
    set: Box<Set<T>>,
    get: Box<Get<T>>,
    check: Option<Box<Check<T>>>,
}

type Set<T> = dyn Fn(&mut T, Form, &Value) -> Result<(), String> + Send + Sync;
type Get<T> = dyn Fn(&mut T) -> Option<Value> + Send + Sync;
type Check<T> = dyn Fn(&mut T) -> Result<(), String> + Send + Sync;

/// What is known of a key without the type that it is read into.
#[derive(Clone, Debug)]
pub(crate) struct KeyInfo {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) takes: ValueType,
    pub(crate) unset: Unset,
    pub(crate) example: Option<&'static str>,
    pub(crate) instead_of: Option<&'static str>,
}

/// Which values a key takes.
#[derive(Clone, Debug)]
pub(crate) enum ValueType {
    Flag,
    Count,
    Size,
    Time,
    Text,
    Path,
    /// A path as well; the value is what stands in the file.
    File,
    Url,
    Choice(Vec<&'static str>),
    Other(&'static str),
    Secret,
    SecretUrl,
    SecretUrls,
}

/// What happens where a key is not set, in words for the operator.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unset {
    /// The field keeps its default.
    Default,
    /// The value follows from other keys, in this way.
    Follows(&'static str),
    /// The value depends on this machine, in this way.
    Found(&'static str),
    /// There is no value, and this happens.
    Nothing(&'static str),
    /// The table is refused, for this reason.
    Required(&'static str),
}

/// Finds the field of `T` that a [`Key`] reads its value into.
pub type Field<T, S> = fn(&mut T) -> &mut S;

/// A field that a [`Key`] of the type `V` sets: a `V`, or an `Option` of one.
pub trait Slot<V>: 'static {
    /// Sets the field.
    fn put(&mut self, value: V);

    /// Returns the field's value, if it has one.
    fn value(&self) -> Option<&V>;
}

impl<V: 'static> Slot<V> for V {
    fn put(&mut self, value: V) {
        *self = value;
    }

    fn value(&self) -> Option<&V> {
        Some(self)
    }
}

impl<V: 'static> Slot<V> for Option<V> {
    fn put(&mut self, value: V) {
        *self = Some(value);
    }

    fn value(&self) -> Option<&V> {
        self.as_ref()
    }
}

/// The constructors: one per type of value.
impl<T: 'static> Key<T> {
    /// Defines a key that is `true` or `false`.
    pub fn flag<S: Slot<bool>>(name: &'static str, about: &'static str, slot: Field<T, S>) -> Self {
        Self::new(
            name,
            about,
            ValueType::Flag,
            plainly(deserialized),
            |flag: &bool| Some((*flag).into()),
            slot,
        )
    }

    /// Defines a key that is a number of things, from 1.
    pub fn count<S: Slot<usize>>(name: &'static str, about: &'static str, slot: Field<T, S>) -> Self {
        Self::new(
            name,
            about,
            ValueType::Count,
            plainly(count),
            |count: &usize| i64::try_from(*count).ok().map(Value::Integer),
            slot,
        )
    }

    /// Defines a key that is a number of bytes, or a text like `"50GiB"`.
    pub fn size<S: Slot<u64>>(name: &'static str, about: &'static str, slot: Field<T, S>) -> Self {
        Self::new(
            name,
            about,
            ValueType::Size,
            plainly(size),
            |bytes: &u64| Some(size_value(*bytes)),
            slot,
        )
    }

    /// Defines a key that is a time other than zero: a text like `"36h"`, or a number of seconds.
    pub fn time<S: Slot<Duration>>(name: &'static str, about: &'static str, slot: Field<T, S>) -> Self {
        Self::new(
            name,
            about,
            ValueType::Time,
            plainly(time),
            |time: &Duration| Some(time_value(*time)),
            slot,
        )
    }

    /// Defines a key that is any text.
    pub fn text<S: Slot<String>>(name: &'static str, about: &'static str, slot: Field<T, S>) -> Self {
        Self::new(
            name,
            about,
            ValueType::Text,
            plainly(deserialized),
            |text: &String| Some(text.as_str().into()),
            slot,
        )
    }

    /// Defines a key that is a URL. It should hold no credentials, which are hidden where it is shown.
    pub fn url<S: Slot<String>>(name: &'static str, about: &'static str, slot: Field<T, S>) -> Self {
        Self::new(
            name,
            about,
            ValueType::Url,
            plainly(deserialized),
            |url: &String| Some(url.as_str().into()),
            slot,
        )
    }

    /// Defines a key that is the path of a file or directory.
    pub fn path<S: Slot<PathBuf>>(name: &'static str, about: &'static str, slot: Field<T, S>) -> Self {
        Self::new(
            name,
            about,
            ValueType::Path,
            plainly(deserialized),
            |path: &PathBuf| path.to_str().map(Value::from),
            slot,
        )
    }

    /// Defines a key that is the path of a file of at most 1 MiB, which is read once.
    pub fn file<S: Slot<Vec<u8>>>(name: &'static str, about: &'static str, slot: Field<T, S>) -> Self {
        let parse = plainly(|value| contents(&deserialized::<PathBuf>(value)?));
        Self::new(name, about, ValueType::File, parse, |_| None, slot)
    }

    /// Defines a key that is one of these texts, each with what it stands for.
    pub fn choice<V, S>(
        name: &'static str,
        about: &'static str,
        choices: &'static [(&'static str, V)],
        slot: Field<T, S>,
    ) -> Self
    where
        V: Copy + PartialEq + Send + Sync + 'static,
        S: Slot<V>,
    {
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        let expected = format!("expected {}", one_of(&words, '"'));
        let parse = move |value: &Value| {
            let chosen = choices.iter().find(|(word, _)| value.as_str() == Some(word));
            chosen.map(|(_, chosen)| *chosen).ok_or_else(|| expected.clone())
        };
        let show = |value: &V| {
            let chosen = choices.iter().find(|(_, chosen)| chosen == value);
            chosen.map(|(word, _)| Value::from(*word))
        };
        Self::new(name, about, ValueType::Choice(words), plainly(parse), show, slot)
    }

    /// Defines a key of any other type. `words` tell the operator which values it takes.
    ///
    /// The message about a wrong value is the one of `V`. It must not repeat what may be a secret.
    pub fn other<V, S>(
        name: &'static str,
        about: &'static str,
        words: &'static str,
        slot: Field<T, S>,
    ) -> Self
    where
        V: DeserializeOwned + Serialize + 'static,
        S: Slot<V>,
    {
        let show = |value: &V| Value::try_from(value).ok();
        Self::new(
            name,
            about,
            ValueType::Other(words),
            plainly(deserialized),
            show,
            slot,
        )
    }

    /// Defines a secret: `name`, or `<name>_file` for a file that holds it, or `<name>_env` for a
    /// variable of the environment. It is hidden where it is shown.
    pub fn secret<S: Slot<Secret>>(name: &'static str, about: &'static str, slot: Field<T, S>) -> Self {
        Self::new(name, about, ValueType::Secret, Secret::parse, |_| None, slot)
    }

    /// Defines a [secret](Self::secret) that is a URL. Only its credentials are hidden.
    pub fn secret_url<S: Slot<Secret>>(name: &'static str, about: &'static str, slot: Field<T, S>) -> Self {
        Self::new(name, about, ValueType::SecretUrl, Secret::parse, |_| None, slot)
    }

    /// Defines a list of URLs that may hold credentials, which are hidden where they are shown.
    pub fn secret_urls<S: Slot<Vec<String>>>(
        name: &'static str,
        about: &'static str,
        slot: Field<T, S>,
    ) -> Self {
        Self::new(name, about, ValueType::SecretUrls, plainly(texts), |_| None, slot)
    }

    fn new<V: 'static, S: Slot<V>>(
        name: &'static str,
        about: &'static str,
        takes: ValueType,
        parse: impl Fn(Form, &Value) -> Result<V, String> + Send + Sync + 'static,
        show: impl Fn(&V) -> Option<Value> + Send + Sync + 'static,
        slot: Field<T, S>,
    ) -> Self {
        Self {
            info: KeyInfo {
                name,
                about,
                takes,
                unset: Unset::Default,
                example: None,
                instead_of: None,
            },
            set: Box::new(move |target, form, value| {
                slot(target).put(parse(form, value)?);
                Ok(())
            }),
            get: Box::new(move |target| <S as Slot<V>>::value(slot(target)).and_then(&show)),
            check: None,
        }
    }
}

/// What else can be said of a key.
impl<T: 'static> Key<T> {
    /// Adds an example of the value, as in TOML: for a key that must be set, or has no default.
    /// The example of a secret that is not required is one of `<name>_file`.
    #[must_use]
    pub fn such_as(mut self, example: &'static str) -> Self {
        self.info.example = Some(example);
        self
    }

    /// Says that this key is another way to say what `name` says: setting one overrides both.
    #[must_use]
    pub fn instead_of(mut self, name: &'static str) -> Self {
        self.info.instead_of = Some(name);
        self
    }

    /// Says what happens without a value.
    #[must_use]
    pub fn unset(mut self, what: &'static str) -> Self {
        self.info.unset = Unset::Nothing(what);
        self
    }

    /// Says that the default is found on this machine, and how.
    #[must_use]
    pub fn found(mut self, how: &'static str) -> Self {
        self.info.unset = Unset::Found(how);
        self
    }

    /// Says that the default follows from other keys, in words and as the value.
    #[must_use]
    pub fn follows(mut self, how: &'static str, value: fn(&T) -> Value) -> Self {
        self.info.unset = Unset::Follows(how);
        self.get = Box::new(move |target| Some(value(target)));
        self
    }

    /// Refuses a table without this key, or a key [instead of](Self::instead_of) it, for this reason.
    #[must_use]
    pub fn required(mut self, why: &'static str) -> Self {
        self.info.unset = Unset::Required(why);
        self
    }

    /// Adds a check that runs once all keys are read, whether this one is set or not. The message
    /// follows the name of the key, and must not repeat a secret.
    #[must_use]
    pub fn check(mut self, check: fn(&T) -> Result<(), String>) -> Self {
        self.check = Some(Box::new(move |target| check(target)));
        self
    }

    /// Makes a key of `U` out of a key of one part of `U`.
    #[must_use]
    pub fn of_part<U: 'static>(self, part: fn(&mut U) -> &mut T) -> Key<U> {
        let Self {
            info,
            set,
            get,
            check,
        } = self;
        Key {
            info,
            set: Box::new(move |whole, form, value| set(part(whole), form, value)),
            get: Box::new(move |whole| get(part(whole))),
            check: check.map(|check| -> Box<Check<U>> { Box::new(move |whole| check(part(whole))) }),
        }
    }
}

impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.info.fmt(f)
    }
}

impl KeyInfo {
    /// The names that the key has in a table: three for a secret.
    pub(crate) fn names(&self) -> Vec<String> {
        self.forms().map(|(_, name)| name).collect()
    }

    fn forms(&self) -> impl Iterator<Item = (Form, String)> {
        let elsewhere: &[Form] = match self.is_secret() {
            true => &[Form::File, Form::Variable],
            false => &[],
        };
        let forms = [Form::Plain].iter().chain(elsewhere);
        forms.map(|form| (*form, format!("{}{}", self.name, form.suffix())))
    }

    /// Whether the value may stand elsewhere: in a file, or in a variable of the environment.
    pub(crate) fn is_secret(&self) -> bool {
        matches!(self.takes, ValueType::Secret | ValueType::SecretUrl)
    }

    /// Whether both keys are ways to say one thing.
    pub(crate) fn means_the_same_as(&self, other: &Self) -> bool {
        let root = |info: &Self| info.instead_of.unwrap_or(info.name);
        root(self) == root(other)
    }

    /// Returns the value that a text from the environment means for `name`, one of
    /// [`names`](Self::names). A secret may look like anything, and is taken as it stands.
    pub(crate) fn value_of(&self, name: &str, text: &str) -> Value {
        let value = value_of(text);
        let is_text = match self.takes {
            ValueType::Secret | ValueType::SecretUrl if name == self.name => return text.into(),
            ValueType::Text
            | ValueType::Path
            | ValueType::File
            | ValueType::Url
            | ValueType::Choice(_)
            | ValueType::Secret
            | ValueType::SecretUrl => true,
            _ => false,
        };
        match is_text && !value.is_str() {
            true => text.into(),
            false => value,
        }
    }
}

/// Returns the value that a text means of which nothing is known: TOML where it is, else itself.
pub(crate) fn value_of(text: &str) -> Value {
    text.parse().unwrap_or_else(|_| text.into())
}

impl ValueType {
    /// Says to an operator which values these are.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Flag => "true or false".into(),
            Self::Count => "a number".into(),
            Self::Size => "a size: a number of bytes, or a text like \"50GiB\"".into(),
            Self::Time => "a time: a text like \"36h\" or \"1m 30s\", or a number of seconds".into(),
            Self::Text => "a text".into(),
            Self::Path | Self::File => "a path".into(),
            Self::Url => "a URL".into(),
            Self::Choice(texts) => quoted(texts, '"').join(", "),
            Self::Other(words) => (*words).into(),
            Self::Secret => "a secret".into(),
            Self::SecretUrl => "a secret, which is a URL".into(),
            Self::SecretUrls => "a list of secrets, which are URLs".into(),
        }
    }
}

/// What is wrong with a table, and with which of its keys. Nothing of it repeats a secret.
#[derive(Debug)]
pub(crate) struct Mistake {
    pub(crate) key: Option<String>,
    /// Does not name the key again.
    pub(crate) message: String,
}

impl Mistake {
    pub(crate) fn new(message: String) -> Self {
        Self { key: None, message }
    }

    fn of(key: impl Into<String>, message: &str) -> Self {
        Self {
            key: Some(key.into()),
            message: one_line(message),
        }
    }

    /// The message, with the name of the key in front.
    pub(crate) fn named(&self) -> String {
        match &self.key {
            Some(key) => format!("`{key}`: {}", self.message),
            None => self.message.clone(),
        }
    }
}

/// The keys of one table.
#[derive(Debug)]
pub(crate) struct Keys<T>(Vec<Key<T>>);

impl<T> Keys<T> {
    pub(crate) fn new(keys: impl IntoIterator<Item = Key<T>>) -> Self {
        Self(keys.into_iter().collect())
    }

    /// The values that `target` has for these keys, where they can be shown.
    pub(crate) fn values(&self, target: &mut T) -> Vec<Option<Value>> {
        self.0.iter().map(|key| (key.get)(target)).collect()
    }
}

impl<T: Default> Keys<T> {
    /// Reads one value of a table into `target`.
    pub(crate) fn set(&self, target: &mut T, name: &str, value: &Value) -> Result<(), Mistake> {
        for key in &self.0 {
            if let Some((form, _)) = key.info.forms().find(|(_, known)| known == name) {
                let set = (key.set)(target, form, value);
                return set.map_err(|message| Mistake::of(name, &message));
            }
        }
        Err(Mistake::new(self.unknown(name, &[])))
    }

    /// Reads a table.
    pub(crate) fn read(&self, table: &Table) -> Result<T, Mistake> {
        let is_set = |info: &KeyInfo| info.names().iter().any(|name| table.contains_key(name));
        for Key { info, .. } in &self.0 {
            let mut set = info.names().into_iter().filter(|name| table.contains_key(name));
            if let (Some(one), Some(other)) = (set.next(), set.next()) {
                let message = format!("`{one}` and `{other}` are two places for one secret");
                return Err(Mistake::new(message));
            }
        }
        let mut target = T::default();
        for (name, value) in table {
            self.set(&mut target, name, value)?;
        }
        for Key { info, check, .. } in &self.0 {
            let mut same = self.0.iter().filter(|key| key.info.means_the_same_as(info));
            match info.unset {
                Unset::Required(why) if !same.any(|key| is_set(&key.info)) => {
                    return Err(Mistake::of(info.name, why));
                }
                _ => {}
            }
            if let Some(check) = check {
                check(&mut target).map_err(|message| Mistake::of(info.name, &message))?;
            }
        }
        Ok(target)
    }
}

/// [`Keys`] of any type.
pub(crate) trait Described: Send + Sync {
    /// The keys, in the order in which they are described.
    fn infos(&self) -> Vec<&KeyInfo>;

    /// Says that no key has this name; `more` are names that the table has besides these keys.
    fn unknown(&self, name: &str, more: &[&str]) -> String;

    /// The values that the keys have which `table` does not set, where they have some. Reads no
    /// file, and passes over values of the table that are wrong.
    fn defaults(&self, table: &Table) -> Vec<Option<Value>>;
}

impl<T: Default> Described for Keys<T> {
    fn infos(&self) -> Vec<&KeyInfo> {
        self.0.iter().map(|key| &key.info).collect()
    }

    fn unknown(&self, name: &str, more: &[&str]) -> String {
        let name = one_line(name);
        let known: Vec<_> = self.0.iter().flat_map(|key| key.info.names()).collect();
        let known: Vec<_> = known
            .iter()
            .map(String::as_str)
            .chain(more.iter().copied())
            .collect();
        match known.as_slice() {
            [] => format!("unknown field `{name}`"),
            [_] | [_, _] => format!("unknown field `{name}`, expected {}", one_of(&known, '`')),
            _ => {
                let known = quoted(&known, '`').join(", ");
                format!("unknown field `{name}`, expected one of {known}")
            }
        }
    }

    fn defaults(&self, table: &Table) -> Vec<Option<Value>> {
        let mut target = T::default();
        for key in &self.0 {
            let reads_files = key.info.is_secret() || matches!(key.info.takes, ValueType::File);
            if let Some(value) = table.get(key.info.name).filter(|_| !reads_files) {
                // Making the source is what refuses a wrong value.
                let _ = (key.set)(&mut target, Form::Plain, value);
            }
        }
        self.values(&mut target)
    }
}

/// Parses a value that stands in its key and nowhere else.
fn plainly<V>(
    parse: impl Fn(&Value) -> Result<V, String> + Send + Sync + 'static,
) -> impl Fn(Form, &Value) -> Result<V, String> + Send + Sync + 'static {
    move |_, value| parse(value)
}

/// Not for secrets: the message about a value of the wrong type repeats it.
fn deserialized<V: DeserializeOwned>(value: &Value) -> Result<V, String> {
    let read = value.clone().try_into();
    read.map_err(|error: toml::de::Error| error.message().to_owned())
}

fn count(value: &Value) -> Result<usize, String> {
    let count = value.as_integer().and_then(|count| usize::try_from(count).ok());
    let count = count.filter(|count| *count > 0);
    count.ok_or_else(|| "expected a whole number from 1".into())
}

fn size(value: &Value) -> Result<u64, String> {
    const EXPECTED: &str = "expected a number of bytes, or a text such as \"50GiB\"";
    match value {
        Value::Integer(bytes) => u64::try_from(*bytes).map_err(|_| EXPECTED.into()),
        Value::String(text) => match text.parse() {
            Ok(ByteSize(bytes)) => Ok(bytes),
            Err(_) => Err(format!("{text:?} is no size: {EXPECTED}")),
        },
        _ => Err(EXPECTED.into()),
    }
}

/// Writes a size exactly, in the largest unit that allows it.
fn size_value(bytes: u64) -> Value {
    for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes > 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift).into();
        }
    }
    i64::try_from(bytes).map_or_else(|_| format!("{bytes}B").into(), Value::Integer)
}

fn time(value: &Value) -> Result<Duration, String> {
    let time = match value {
        Value::String(text) => time_of(text),
        Value::Integer(seconds) => u64::try_from(*seconds).ok().map(Duration::from_secs),
        Value::Float(seconds) => Duration::try_from_secs_f64(*seconds).ok(),
        _ => None,
    };
    time.filter(|time| !time.is_zero())
        .ok_or_else(|| "expected a time such as \"36h\", or a number of seconds".into())
}

/// Days have 24 hours.
fn time_of(text: &str) -> Option<Duration> {
    let span: jiff::Span = text.parse().ok()?;
    let days = jiff::SpanRelativeTo::days_are_24_hours();
    span.to_duration(days).ok()?.try_into().ok()
}

fn time_value(time: Duration) -> Value {
    match time.subsec_nanos() {
        0 => format!("{}s", time.as_secs()).into(),
        _ => time.as_secs_f64().into(),
    }
}

/// The message repeats none of them.
fn texts(value: &Value) -> Result<Vec<String>, String> {
    let texts = value.as_array().map(|values| values.iter().map(Value::as_str));
    let texts: Option<Vec<_>> = texts.and_then(Iterator::collect);
    let texts = texts.filter(|texts| !texts.is_empty());
    texts
        .map(|texts| texts.into_iter().map(str::to_owned).collect())
        .ok_or_else(|| "expected a list of strings".into())
}

fn contents(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let mut contents = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE_LEN + 1).read_to_end(&mut contents))
        .map_err(|error| format!("{} cannot be read ({error})", path.display()))?;
    match contents.len() as u64 > MAX_FILE_LEN {
        true => Err("a file longer than 1 MiB".into()),
        false => Ok(contents),
    }
}

fn quoted(words: &[&str], quote: char) -> Vec<String> {
    words.iter().map(|word| format!("{quote}{word}{quote}")).collect()
}

/// Lists words with an "or" in front of the last one.
fn one_of(words: &[&str], quote: char) -> String {
    let words = quoted(words, quote);
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One field of each type.
    #[derive(Debug, Default)]
    struct Fields {
        flag: bool,
        count: Option<usize>,
        size: u64,
        time: Option<Duration>,
        text: String,
        path: PathBuf,
        choice: u8,
        other: Vec<String>,
        secret: Option<Secret>,
    }

    fn keys() -> Keys<Fields> {
        type Of = Key<Fields>;
        Keys::new([
            Of::flag("flag", "", |of| &mut of.flag),
            Of::count("count", "", |of| &mut of.count),
            Of::size("size", "", |of| &mut of.size),
            Of::time("time", "", |of| &mut of.time),
            Of::text("text", "", |of| &mut of.text),
            Of::path("path", "", |of| &mut of.path),
            Of::choice("choice", "", &[("one", 1), ("two", 2), ("six", 6)], |of| {
                &mut of.choice
            }),
            Of::other("other", "", "a list", |of| &mut of.other),
            Of::secret("secret", "", |of| &mut of.secret),
        ])
    }

    fn read(text: &str) -> Result<Fields, String> {
        let table: Table = text.parse().unwrap();
        keys().read(&table).map_err(|mistake| mistake.named())
    }

    #[test]
    fn a_variable_means_what_its_key_takes() {
        let keys = keys();
        for (name, text, means) in [
            ("flag", "true", Value::Boolean(true)),
            ("flag", "yes", "yes".into()),
            ("count", "8", Value::Integer(8)),
            ("size", "8", Value::Integer(8)),
            ("size", "50GiB", "50GiB".into()),
            ("time", "0.5", Value::Float(0.5)),
            ("time", "2s", "2s".into()),
            ("text", "1234", "1234".into()),
            ("text", "\"quoted\"", "quoted".into()),
            ("text", "1\nother = 2", "1\nother = 2".into()),
            ("path", "/x y", "/x y".into()),
            ("other", "[\"a\"]", Value::Array(vec!["a".into()])),
            // A password may look like anything.
            ("secret", "1234", "1234".into()),
            ("secret", "\"quoted\"", "\"quoted\"".into()),
            ("secret_file", "\"/quoted\"", "/quoted".into()),
            ("secret_env", "true", "true".into()),
        ] {
            let mut infos = keys.infos().into_iter();
            let info = infos.find(|info| info.names().iter().any(|known| known == name));
            assert_eq!(info.unwrap().value_of(name, text), means, "{name} {text}");
        }
    }

    #[test]
    fn a_time_is_a_text_or_seconds() {
        for (text, seconds) in [
            ("\"36h\"", Some(36.0 * 3600.0)),
            ("\"7d\"", Some(7.0 * 86400.0)),
            ("\"1m 30s\"", Some(90.0)),
            ("\"250ms\"", Some(0.25)),
            ("2", Some(2.0)),
            ("0.5", Some(0.5)),
            ("\"\"", None),
            ("\"36\"", None),
            ("\"1 month\"", None),
            ("\"-2s\"", None),
            ("\"0s\"", None),
            ("0", None),
            ("-1", None),
            ("nan", None),
            ("1e300", None),
            ("true", None),
        ] {
            let time = read(&format!("time = {text}")).map(|fields| fields.time.unwrap().as_secs_f64());
            assert_eq!(time.as_ref().ok().copied(), seconds, "{text}");
            if let Err(error) = time {
                assert!(error.starts_with("`time`: "), "{error}");
            }
        }
    }

    /// The default that an operator is shown is the one that is in effect, exactly.
    #[test]
    fn a_default_that_is_written_out_changes_nothing() {
        for bytes in [
            0,
            1,
            1023,
            1024,
            1 << 20,
            3 << 29,
            64 << 30,
            u64::MAX,
            u64::MAX << 10,
        ] {
            assert_eq!(size(&size_value(bytes)), Ok(bytes));
        }
        for duration in [2000, 250, 90_500, 3_600_000].map(Duration::from_millis) {
            assert_eq!(time(&time_value(duration)), Ok(duration));
        }
        assert_eq!(size_value(64 << 30), "64GiB".into());
        assert_eq!(size_value(5 << 29), "2560MiB".into());
        assert_eq!(time_value(Duration::from_secs(10)), "10s".into());
    }

    #[test]
    fn an_unknown_key_is_a_mistake() {
        let error = read("size = 1\nsise = 2").unwrap_err();
        assert!(
            error.starts_with("unknown field `sise`, expected one of `flag`, `count`, `size`, ")
                && error.ends_with("`secret`, `secret_file`, `secret_env`"),
            "{error}"
        );
        let fields = ["a", "b"].map(|name| Key::<Fields>::flag(name, "", |of| &mut of.flag));
        let error = Keys::new(fields).unknown("c", &[]);
        assert_eq!(error, "unknown field `c`, expected `a` or `b`");
    }

    #[test]
    fn a_value_of_the_wrong_type_is_named() {
        let wrong = read("flag = 1").unwrap_err();
        assert!(wrong.contains("boolean") && wrong.contains("`flag`: "), "{wrong}");
        let wrong = read("choice = \"sometimes\"").unwrap_err();
        assert_eq!(wrong, "`choice`: expected \"one\", \"two\" or \"six\"");
    }
}
