//! The files that users apply: YAML or JSON, several documents in one file, several files in one
//! folder, and the modules that they name by a path.

use super::{
    Error, Result,
    blob::{BLOB_MAX_BYTES, digest_of, read_limited},
};
use api::{Kind, Resource};
use bytes::Bytes;
use serde_json::Value;
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use types::Digest;

/// Far more than people write; what exceeds it is some other file.
pub const MANIFEST_MAX_BYTES: u64 = 4 << 20;

/// What every module begins with, in preview 1 and as a component.
const WASM_MAGIC: &[u8] = b"\0asm";

/// One document.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Where it was read, for messages: "document 2 of `a.yaml`".
    pub origin: String,
    /// What it says.
    pub resource: Resource,
    folder: PathBuf,
}

/// A module that a manifest names by a path.
#[derive(Debug, Clone)]
pub struct Module {
    /// Its file.
    pub path: PathBuf,
    /// Its name as content.
    pub digest: Digest,
    /// The module itself.
    pub bytes: Bytes,
}

/// Reads every document of a file, or of all `.yaml`, `.yml` and `.json` files of a folder in
/// order of name. A document without a tenant gets this one.
///
/// # Errors
/// If a file cannot be read or any document is wrong: then none is returned.
pub fn read(path: &Path, tenant: &str) -> Result<Vec<Manifest>> {
    let failed = |source| Error::File { action: "read", path: path.into(), source };
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        return read_file(path, tenant);
    }
    let mut files = fs::read_dir(path)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>())
        .map_err(failed)?;
    files.retain(|file| {
        let extension = file.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("yaml" | "yml" | "json")) && file.is_file()
    });
    files.sort();
    let mut manifests = Vec::new();
    for file in &files {
        manifests.extend(read_file(file, tenant)?);
    }
    if manifests.is_empty() {
        return Err(Error::Empty { origin: format!("the folder `{}`", path.display()) });
    }
    Ok(manifests)
}

fn read_file(path: &Path, tenant: &str) -> Result<Vec<Manifest>> {
    let name = format!("`{}`", path.display());
    let bytes = read_limited(path, MANIFEST_MAX_BYTES)
        .map_err(|source| Error::File { action: "read", path: path.into(), source })?
        .ok_or_else(|| Error::TooLarge { origin: name.clone(), limit_bytes: MANIFEST_MAX_BYTES })?;
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    parse(&String::from_utf8_lossy(&bytes), &name, &folder, tenant)
}

/// Reads the documents of `text`; modules are sought from `folder`.
///
/// # Errors
/// If any document is wrong: then none is returned.
pub fn parse(text: &str, name: &str, folder: &Path, tenant: &str) -> Result<Vec<Manifest>> {
    if text.len() as u64 > MANIFEST_MAX_BYTES {
        return Err(Error::TooLarge { origin: name.into(), limit_bytes: MANIFEST_MAX_BYTES });
    }
    let options = serde_saphyr::options! { with_snippet: false };
    let documents: Vec<Option<Resource>> = serde_saphyr::from_multiple_with_options(text, options)
        .map_err(|source| Error::Yaml { origin: name.into(), source: source.into() })?;
    let resources: Vec<Resource> = documents.into_iter().flatten().collect();
    if resources.is_empty() {
        return Err(Error::Empty { origin: name.into() });
    }
    let single = resources.len() == 1;
    let manifest = |(index, mut resource): (usize, Resource)| {
        let origin = match single {
            true => name.to_owned(),
            false => format!("document {} of {name}", index + 1),
        };
        if resource.metadata.tenant.is_empty() {
            tenant.clone_into(&mut resource.metadata.tenant);
        }
        resource.check().map_err(|source| Error::Document { origin: origin.clone(), source })?;
        Ok(Manifest { origin, resource, folder: folder.to_owned() })
    };
    resources.into_iter().enumerate().map(manifest).collect()
}

impl Manifest {
    /// `service/street-counter`.
    pub fn target(&self) -> String {
        format!("{}/{}", self.resource.kind.path(), self.resource.metadata.name)
    }

    /// Writes the digest behind the name of every module and model that is a local file, and
    /// returns these files for upload. What names a digest or another place already is left as it
    /// is.
    ///
    /// # Errors
    /// If such a file cannot be read, or a module is not WebAssembly or a model's name does not end
    /// with `.onnx`; so no other file is ever sent.
    pub fn link_modules(&mut self) -> Result<Vec<Module>> {
        let owner = self.target();
        let mut modules = Vec::new();
        for (what, field) in file_fields(self.resource.kind, &mut self.resource.spec) {
            let Some(text) = field.as_str() else { continue };
            if text.contains("@sha256:") || text.contains("://") {
                continue;
            }
            let path = self.folder.join(text);
            let module = match what {
                What::Module => load(&path, &owner)?,
                What::Model => load_model(&path, &owner)?,
            };
            let name = Path::new(text).file_name().unwrap_or_default().to_string_lossy();
            *field = Value::String(format!("{name}@{}", module.digest));
            modules.push(module);
        }
        Ok(modules)
    }
}

impl Manifest {
    /// Writes the file of a policy's functions into the policy, unless its text stands there
    /// already.
    ///
    /// # Errors
    /// If the file cannot be read, is too long, or is no text.
    pub fn link_python(&mut self) -> Result<()> {
        if self.resource.kind != Kind::Policy {
            return Ok(());
        }
        let Some(python) = self.resource.spec.get_mut("python").and_then(Value::as_object_mut)
        else {
            return Ok(());
        };
        if python.contains_key("source") {
            return Ok(());
        }
        let Some(file) = python.get("file").and_then(Value::as_str) else { return Ok(()) };
        let path = self.folder.join(file);
        let failed = |source| Error::File { action: "read", path: path.clone(), source };
        let limit_bytes = api::policy::SOURCE_MAX_BYTES as u64;
        let bytes = read_limited(&path, limit_bytes).map_err(failed)?.ok_or_else(|| {
            Error::TooLarge { origin: format!("`{}`", path.display()), limit_bytes }
        })?;
        let text = String::from_utf8(bytes)
            .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        // Whoever reads the policy elsewhere knows nothing of this machine's folders.
        let name = Path::new(file).file_name().unwrap_or_default().to_string_lossy().into_owned();
        python.insert("file".to_owned(), Value::String(name));
        python.insert("source".to_owned(), Value::String(text));
        Ok(())
    }
}

/// What a field of a spec names.
#[derive(Debug, Clone, Copy)]
enum What {
    Module,
    Model,
}

/// The places in a spec that name a file.
fn file_fields(kind: Kind, spec: &mut Value) -> Vec<(What, &mut Value)> {
    match kind {
        Kind::Service | Kind::Cell | Kind::Tissue => program_fields(spec).collect(),
        Kind::Block => {
            let components = spec.get_mut("components").and_then(Value::as_array_mut);
            components
                .into_iter()
                .flatten()
                .filter_map(|component| component.get_mut("service"))
                .flat_map(program_fields)
                .collect()
        }
        Kind::Site | Kind::Policy | Kind::Model | Kind::Decision => Vec::new(),
    }
}

/// Those of one program.
fn program_fields(program: &mut Value) -> impl Iterator<Item = (What, &mut Value)> {
    let fields = program.as_object_mut().into_iter().flatten();
    fields.flat_map(|(name, value)| match name.as_str() {
        "module" => vec![(What::Module, value)],
        "models" => {
            let models = value.as_array_mut().into_iter().flatten();
            models.filter_map(|model| Some((What::Model, model.get_mut("file")?))).collect()
        }
        _ => Vec::new(),
    })
}

/// Reads a module's file for the resource `owner`.
///
/// # Errors
/// If it cannot be read or is not WebAssembly.
pub fn load(path: &Path, owner: &str) -> Result<Module> {
    let bytes = contents(path, owner)?;
    let (path, owner) = (path.to_owned(), owner.to_owned());
    if !bytes.starts_with(WASM_MAGIC) {
        let reason = match bytes.starts_with(b"\x7fELF") {
            true => "it is a program for this machine; compile it with `cloudskin build`",
            false if path.extension().is_some_and(|extension| extension == "wat") => {
                "it is its text form; translate it with `wat2wasm`"
            }
            false => "it does not begin with `\\0asm`",
        };
        return Err(Error::NotAModule { path, owner, reason });
    }
    Ok(Module { digest: digest_of(&bytes), bytes: bytes.into(), path })
}

/// Reads a model's file for the resource `owner`.
///
/// # Errors
/// If it cannot be read, or its name does not end with `.onnx`.
pub fn load_model(path: &Path, owner: &str) -> Result<Module> {
    if path.extension().is_none_or(|extension| extension != "onnx") {
        return Err(Error::NotAModel { path: path.to_owned(), owner: owner.to_owned() });
    }
    let bytes = contents(path, owner)?;
    Ok(Module { digest: digest_of(&bytes), bytes: bytes.into(), path: path.to_owned() })
}

fn contents(path: &Path, owner: &str) -> Result<Vec<u8>> {
    match read_limited(path, BLOB_MAX_BYTES) {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(Error::TooLarge {
            origin: format!("`{}`", path.display()),
            limit_bytes: BLOB_MAX_BYTES,
        }),
        Err(source) => {
            Err(Error::Module { path: path.to_owned(), owner: owner.to_owned(), source })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "
apiVersion: cloudskin.eu/v1alpha1
kind: Service
metadata: {name: a}
spec: {module: a.wasm}
---
# a site of its own
apiVersion: cloudskin.eu/v1alpha1
kind: Site
metadata: {name: edge, tenant: blue}
spec: {cordoned: true}
---
";

    #[test]
    fn a_file_holds_several_documents_and_a_folder_several_files() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("b.yaml"), TWO).unwrap();
        let json = r#"{"apiVersion": "cloudskin.eu/v1alpha1", "kind": "Site", "metadata": {"name": "cloud"}}"#;
        fs::write(folder.path().join("a.json"), json).unwrap();
        fs::write(folder.path().join("notes.txt"), "none of ours").unwrap();

        let manifests = read(folder.path(), "red").unwrap();

        let seen: Vec<_> = manifests
            .iter()
            .map(|manifest| (manifest.target(), manifest.resource.metadata.tenant.clone()))
            .collect();
        let expected = [("site/cloud", "red"), ("service/a", "red"), ("site/edge", "blue")];
        assert_eq!(seen, expected.map(|(target, tenant)| (target.to_owned(), tenant.to_owned())));
        assert!(manifests[2].origin.starts_with("document 2 of "), "{}", manifests[2].origin);
    }

    #[test]
    fn wrong_documents_are_refused_with_their_place() {
        let parse = |text: &str| {
            parse(text, "`x.yaml`", Path::new(""), "default")
                .map(drop)
                .map_err(|error| types::chain(&error))
                .unwrap_err()
        };
        let second = format!("{TWO}apiVersion: v1\nkind: Service\nmetadata: {{name: a}}\n");
        let typo = TWO.replace("spec: {module: a.wasm}", "spec: {modul: a.wasm}");

        assert!(parse(&second).contains("document 3 of `x.yaml`"), "{}", parse(&second));
        assert!(parse(&typo).contains("modul"), "{}", parse(&typo));
        assert!(parse("").contains("holds no resource"));
        assert!(parse("kind: Serviced").contains("x.yaml"));
        assert!(parse("{").contains("x.yaml"));
        assert!(parse(&format!("a: {}", "[".repeat(100_000))).contains("x.yaml"));
        assert!(parse(&" ".repeat(5 << 20)).contains("larger than"));
    }

    #[test]
    fn a_local_module_is_named_by_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("built")).unwrap();
        fs::write(folder.path().join("built/a.wasm"), b"\0asm\x01\0\0\0").unwrap();
        let text = TWO.replace("a.wasm", "built/a.wasm");
        let mut manifests = parse(&text, "`x`", folder.path(), "default").unwrap();

        let modules = manifests[0].link_modules().unwrap();
        let again = manifests[0].link_modules().unwrap();

        assert_eq!(modules.len(), 1);
        assert!(again.is_empty());
        let spec: api::service::ServiceSpec = manifests[0].resource.spec().unwrap();
        assert_eq!(spec.module_name(), "a.wasm");
        assert_eq!(spec.module_digest(), Some(modules[0].digest));
    }

    #[test]
    fn a_model_is_named_by_its_digest_too() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.wasm"), b"\0asm").unwrap();
        fs::write(folder.path().join("net.onnx"), b"a model").unwrap();
        let models = "models: [{name: eye, file: net.onnx}, {name: ear, file: FILE}]";
        let text = TWO.replace("{module: a.wasm}", &format!("{{module: a.wasm, {models}}}"));
        let linked = |file: &str| {
            let text = text.replace("FILE", file);
            let mut manifests = parse(&text, "`x`", folder.path(), "default").unwrap();
            manifests[0].link_modules().map(|files| (files, manifests.remove(0).resource))
        };
        let (files, resource) = linked("net.onnx").unwrap();

        assert_eq!(files.len(), 3);
        let spec: api::service::ServiceSpec = resource.spec().unwrap();
        assert_eq!(spec.models[0].digest(), Some(digest_of(b"a model")));
        assert!(spec.models[0].file.starts_with("net.onnx@sha256:"), "{:?}", spec.models);
        let other = linked("/etc/passwd").unwrap_err().to_string();
        assert!(other.contains("must end with `.onnx`"), "no other file is sent: {other}");
    }

    #[test]
    fn each_component_of_a_block_has_its_module() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.wasm"), b"\0asm").unwrap();
        let text = "
apiVersion: cloudskin.eu/v1alpha1
kind: Block
metadata: {name: b}
spec:
  version: '1'
  components:
  - {name: decode, service: {module: a.wasm}}
  - {name: infer, service: {module: 'oci://registry/a@sha256:00'}}
";
        let mut manifests = parse(text, "`x`", folder.path(), "default").unwrap();

        assert_eq!(manifests[0].link_modules().unwrap().len(), 1);
    }

    #[test]
    fn a_policy_carries_its_functions() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("agents.py"), "print(1)\n").unwrap();
        let text = "
apiVersion: cloudskin.eu/v1alpha1
kind: Policy
metadata: {name: qos}
spec: {service: a, sla: 100ms, model: python/predict, python: {file: agents.py}}
";
        let mut manifests = parse(text, "`x`", folder.path(), "default").unwrap();

        manifests[0].link_python().unwrap();
        manifests[0].link_python().unwrap();

        let spec: api::policy::PolicySpec = manifests[0].resource.spec().unwrap();
        assert_eq!(spec.python.unwrap().source.as_deref(), Some("print(1)\n"));
        let mut absent = parse(&text.replace("agents.py", "b.py"), "`x`", folder.path(), "default");
        assert_eq!(
            absent.as_mut().unwrap()[0].link_python().unwrap_err().kind(),
            types::ErrorKind::NotFound
        );
        fs::write(folder.path().join("b.py"), "#".repeat(70 << 10)).unwrap();
        let error = absent.unwrap()[0].link_python().unwrap_err();
        assert!(error.to_string().contains("b.py"), "{error}");
    }

    #[test]
    fn what_is_no_module_is_never_sent() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.wasm"), "root:x:0:0").unwrap();
        let mut manifests = parse(TWO, "`x`", folder.path(), "default").unwrap();

        let text = manifests[0].link_modules().unwrap_err().to_string();
        fs::remove_file(folder.path().join("a.wasm")).unwrap();
        let absent = manifests[0].link_modules().unwrap_err();

        assert!(text.contains("service/a") && text.contains("not a WebAssembly"), "{text}");
        assert_eq!(absent.kind(), types::ErrorKind::NotFound);
    }
}
