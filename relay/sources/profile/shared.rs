//! The shared files: where they are, and what stands in them.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use aws_config::profile::{ProfileFileLoadError, ProfileSet};
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_types::os_shim_internal::{Env, Fs};
use zeroize::Zeroizing;

use super::{Settings, errors};
use crate::failure::{Cause, Failure};
use crate::files;

/// Thousands of profiles take some hundred kilobytes.
const LARGEST: u64 = 1 << 20;

/// Both files, as they were at one time.
pub(super) struct Shared([File; 2]);

struct File {
    kind: EnvConfigFileKind,
    /// None where there is no home folder.
    path: Option<PathBuf>,
    /// None where there is no such file.
    text: Option<Zeroizing<String>>,
}

/// Who says where a file is.
enum Place {
    /// A setting: the file must be there.
    Set(PathBuf),
    /// A variable, or the SDKs' default: one that is not there is as good as empty.
    Usual(PathBuf),
    /// Nobody, and there is no home folder.
    Nowhere,
}

impl Shared {
    /// Reads both, with the variables of an environment. That may hold up its thread.
    ///
    /// # Errors
    /// A file that is there and cannot be read, or one that a setting names and that is not there.
    pub(super) fn read(
        settings: &Settings,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, Failure> {
        let Settings { config_file, credentials_file, .. } = settings;
        let given = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let place = |setting: &Option<PathBuf>, variable, name| {
            place(setting.as_deref(), given(variable), given("HOME"), name)
        };
        let config = place(config_file, "AWS_CONFIG_FILE", "config");
        let credentials = place(credentials_file, "AWS_SHARED_CREDENTIALS_FILE", "credentials");
        Ok(Self([
            File::read(EnvConfigFileKind::Config, config)?,
            File::read(EnvConfigFileKind::Credentials, credentials)?,
        ]))
    }

    /// The texts, which the SDK need not read again.
    pub(super) fn texts(&self) -> EnvConfigFiles {
        let text =
            |file: &File| file.text.as_ref().map_or_else(String::new, |text| (**text).clone());
        self.0
            .iter()
            .fold(EnvConfigFiles::builder(), |all, file| all.with_contents(file.kind, text(file)))
            .build()
    }

    /// What stands in them, of which the profile `name` is meant.
    ///
    /// # Errors
    /// A file that is not of the form.
    pub(super) async fn sections(&self, name: &str) -> Result<ProfileSet, Failure> {
        match parse(&self.texts(), name).await {
            Ok(sections) => Ok(sections),
            Err(error) => Err(self.malformed(&error).await),
        }
    }

    /// The SDK does not know which file a text is from.
    async fn malformed(&self, error: &ProfileFileLoadError) -> Failure {
        let mut said = errors::chain_of(error);
        for File { kind, path, text } in &self.0 {
            let (Some(path), Some(text)) = (path, text) else { continue };
            let alone = EnvConfigFiles::builder().with_contents(*kind, text.as_str()).build();
            if let Err(error) = parse(&alone, "default").await {
                said = format!("{}: {}", path.display(), errors::chain_of(&error));
            }
        }
        errors::files(Cause::Misconfigured, &said)
    }

    /// Where was looked, for who is told that something is not there.
    pub(super) fn places(&self) -> String {
        let place = |File { path, text, .. }: &File| match (path, text) {
            (None, _) => "nowhere, since HOME is not set".to_owned(),
            (Some(path), None) => format!("{} (which is not there)", path.display()),
            (Some(path), Some(_)) => path.display().to_string(),
        };
        let [config, credentials] = self.0.each_ref().map(place);
        format!("{config} and {credentials}")
    }
}

impl File {
    fn read(kind: EnvConfigFileKind, place: Place) -> Result<Self, Failure> {
        let (path, required) = match place {
            Place::Set(path) => (path, true),
            Place::Usual(path) => (path, false),
            Place::Nowhere => return Ok(Self { kind, path: None, text: None }),
        };
        let told = |cause, why: &str| errors::files(cause, &format!("{}: {why}", path.display()));
        // The usual way to say that there shall be none.
        let content = match path.as_os_str() == "/dev/null" {
            true => Ok(Zeroizing::default()),
            false => files::read(&path, LARGEST),
        };
        let text = match content {
            Ok(bytes) => {
                let text = str::from_utf8(&bytes)
                    .map_err(|_| told(Cause::Misconfigured, "it is not UTF-8 text"))?;
                Some(Zeroizing::new(text.to_owned()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && !required => None,
            // It may be mounted late, or mended: and must not end in another identity till then.
            Err(error) => {
                return Err(told(Cause::Transient, &format!("it cannot be read: {error}")));
            }
        };
        Ok(Self { kind, path: Some(path), text })
    }
}

async fn parse(files: &EnvConfigFiles, name: &str) -> Result<ProfileSet, ProfileFileLoadError> {
    let name = Some(name.to_owned().into());
    aws_config::profile::load(&Fs::real(), &Env::real(), files, name).await
}

fn place(
    setting: Option<&Path>,
    variable: Option<PathBuf>,
    home: Option<PathBuf>,
    name: &str,
) -> Place {
    match (setting, variable, home) {
        (Some(path), _, _) => Place::Set(path.to_owned()),
        (None, Some(path), Some(home)) => match path.strip_prefix("~") {
            Ok(below) => Place::Usual(home.join(below)),
            Err(_) => Place::Usual(path),
        },
        (None, Some(path), None) => Place::Usual(path),
        (None, None, Some(home)) => Place::Usual(home.join(".aws").join(name)),
        (None, None, None) => Place::Nowhere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::Meant;

    const UNNAMED: Settings = Settings {
        meant: Meant::IfThere,
        name: None,
        config_file: None,
        credentials_file: None,
        ca_cert: None,
    };

    fn read(settings: &Settings, variables: &[(&str, &Path)]) -> Result<Shared, Failure> {
        Shared::read(settings, |name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, path)| path.as_os_str().to_owned())
        })
    }

    #[test]
    fn the_files_are_where_the_sdks_look() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        std::fs::create_dir(home.join(".aws")).unwrap();
        std::fs::write(home.join(".aws/config"), "[default]\n").unwrap();
        std::fs::write(home.join("other"), "").unwrap();
        let places = |variables: &[(&str, &Path)]| read(&UNNAMED, variables).unwrap().places();
        let (config, credentials) = (home.join(".aws/config"), home.join(".aws/credentials"));
        assert_eq!(
            places(&[("HOME", home)]),
            format!("{} and {} (which is not there)", config.display(), credentials.display())
        );
        let (variable, home_of) = ("AWS_SHARED_CREDENTIALS_FILE", home.join("other"));
        for path in [Path::new("~/other"), &home_of] {
            let said =
                places(&[("HOME", home), (variable, path), ("AWS_CONFIG_FILE", Path::new(""))]);
            assert_eq!(said, format!("{} and {}", config.display(), home_of.display()));
        }
        let null = Path::new("/dev/null");
        assert_eq!(
            places(&[("AWS_CONFIG_FILE", null)]),
            "/dev/null and nowhere, since HOME is not set"
        );
    }

    #[test]
    fn a_file_that_cannot_be_read_is_not_one_that_is_not_there() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(".aws/config");
        std::fs::create_dir_all(&path).unwrap();
        let variables = [("HOME", home.path())];
        let failure = |settings: &Settings| read(settings, &variables).err().unwrap();
        let folder = failure(&UNNAMED);
        assert_eq!(folder.cause, Cause::Transient);
        assert!(folder.reason.contains("not a regular file"), "{folder}");
        std::fs::remove_dir(&path).unwrap();
        std::fs::write(&path, b"[default]\n\xff").unwrap();
        assert_eq!(failure(&UNNAMED).cause, Cause::Misconfigured);
        std::fs::remove_file(&path).unwrap();
        assert!(read(&UNNAMED, &variables).is_ok());
        let late = failure(&Settings { config_file: Some(path), ..UNNAMED });
        assert_eq!(late.cause, Cause::Transient);
        std::fs::remove_dir(home.path().join(".aws")).unwrap();
        std::fs::write(home.path().join(".aws"), "").unwrap();
        assert_eq!(failure(&UNNAMED).cause, Cause::Transient);
    }
}
