//! What a process reads and writes for as long as it runs: the folders of its configuration, and those
//! of the system's libraries.

use std::path::{Path, PathBuf};

use crate::config::injector::{Certificates, Injector};
use crate::config::values::ProfileName;
use crate::config::{Audit, Config, Sandbox, that_runs_programs};
use crate::files::{Folders, Way, real, way};
use crate::kubernetes::SERVICE_ACCOUNT;

/// What is done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Read,
    Written,
}

/// A file that is used again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Need {
    /// The setting that names it.
    pub(super) setting: String,
    pub(super) path: PathBuf,
    pub(super) used: Use,
}

impl Need {
    pub(super) fn new(setting: impl Into<String>, path: &Path, used: Use) -> Self {
        // What arguments and variables name may begin where the process works.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self { setting: setting.into(), path, used }
    }

    /// Where the path is, where it leads to by links, and the links of projected volumes on the way:
    /// each may be changed to another file of the same folder, as kubelets do.
    fn places(&self) -> Vec<PathBuf> {
        let own = match (self.path.parent(), self.path.file_name()) {
            (Some(folder), Some(name)) => real(folder).join(name),
            _ => self.path.clone(),
        };
        let Way { swapped, end } = way(&self.path);
        match self.used {
            Use::Read => [own, end].into_iter().chain(swapped).collect(),
            // Such volumes cannot be written.
            Use::Written => vec![own, end],
        }
    }

    /// The first folder of it that is not among these.
    pub(super) fn outside(&self, folders: &Folders) -> Option<PathBuf> {
        let inside = |place: &Path| match self.used {
            Use::Read => folders.let_read(place),
            Use::Written => folders.let_write(place),
        };
        let outside = self.places().into_iter().find(|place| !inside(place))?;
        Some(outside.parent().map_or_else(|| outside.clone(), Path::to_owned))
    }
}

/// What a process needs of the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs {
    pub(super) sandbox: Sandbox,
    /// A profile whose source runs programs, which would be confined with the relay.
    pub(super) programs: Option<ProfileName>,
    pub(super) files: Vec<Need>,
}

impl Needs {
    /// Of a relay with this configuration, which stands in `file` if it does in one.
    pub fn of_relay(config: &Config, file: Option<&Path>) -> Self {
        let mut files: Vec<_> = config
            .files
            .iter()
            .map(|(place, path)| Need::new(place.to_string(), path, Use::Read))
            .chain(file.map(configuration))
            .collect();
        files.push(Need::new("admin.socket", &config.admin.socket, Use::Written));
        if let Audit::File(path) = &config.audit {
            files.push(Need::new("audit.to", path, Use::Written));
        }
        for (name, profile) in &config.profiles {
            let of = |setting| format!("profiles.{name}.{setting}");
            for path in profile.access.files() {
                files.push(Need::new(of("access.token_file"), path, Use::Written));
            }
            if let Some(file) = &profile.credentials_file {
                files.push(Need::new(of("credentials_file.path"), &file.path, Use::Written));
            }
        }
        let programs = that_runs_programs(&config.profiles).cloned();
        Self { sandbox: config.sandbox, programs, files }
    }

    /// Of an injector with this configuration, which stands in `file`.
    pub fn of_injector(config: &Injector, file: &Path) -> Self {
        let mut files = vec![configuration(file)];
        match &config.certificates {
            Certificates::Files { cert, key } => {
                files.push(Need::new("certificates.files.cert", cert, Use::Read));
                files.push(Need::new("certificates.files.key", key, Use::Read));
            }
            Certificates::SelfManaged(_) => {
                let token = Path::new(SERVICE_ACCOUNT).join("token");
                files.push(Need::new("the service account's token", &token, Use::Read));
            }
        }
        Self { sandbox: Sandbox::BestEffort, programs: None, files }
    }

    /// The folders of all files, and those of the system.
    ///
    /// # Errors
    /// That one of them would be the root, and so everything.
    pub(super) fn folders(&self) -> Result<Folders, String> {
        let mut folders = Folders::default();
        for need in self.files.iter().filter(|need| need.used == Use::Written) {
            for place in need.places() {
                folders.write_in(folder_of(&place, need)?);
            }
        }
        for need in self.files.iter().filter(|need| need.used == Use::Read) {
            for place in need.places() {
                folders.read_in(folder_of(&place, need)?);
            }
        }
        for folder in system() {
            folders.read_in(folder);
        }
        for need in roots_by_variables() {
            // One that is not there is none to the libraries either.
            let there = need.places().into_iter().filter_map(|place| folder_of(&place, &need).ok());
            there.for_each(|folder| folders.read_in(folder));
        }
        Ok(folders)
    }
}

fn configuration(file: &Path) -> Need {
    Need::new("the configuration's file", file, Use::Read)
}

/// The folder of a real path, or the nearest one above it that is there. A file right below the root
/// stands for itself: such as a configuration that is mounted there, and is not swapped.
fn folder_of(place: &Path, need: &Need) -> Result<PathBuf, String> {
    let below = place.parent().unwrap_or(place);
    let there = below.ancestors().find(|folder| folder.exists());
    match there {
        Some(folder) if folder != Path::new("/") => Ok(folder.to_owned()),
        _ if need.used == Use::Read && below == Path::new("/") && place.is_file() => {
            Ok(place.to_owned())
        }
        _ => Err(format!(
            "{}: {} is in no folder that is there, and the one above is the root, which is everything; make the \
             folder before the relay starts",
            need.setting,
            need.path.display()
        )),
    }
}

/// The roots that the system's variables name, which may stand in a projected volume.
fn roots_by_variables() -> Vec<Need> {
    let file = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let folders = std::env::var_os("SSL_CERT_DIR").unwrap_or_default();
    // A folder is needed as a whole, so a file in it stands for it.
    let folders = std::env::split_paths(&folders)
        .filter(|folder| folder.is_dir())
        .map(|folder| Need::new("SSL_CERT_DIR", &folder.join("any"), Use::Read));
    file.map(|file| Need::new("SSL_CERT_FILE", &file, Use::Read))
        .into_iter()
        .chain(folders)
        .collect()
}

/// What resolvers, C libraries and TLS read when they are asked: names, services, and the system's
/// roots, each by where it is in the end.
fn system() -> impl Iterator<Item = PathBuf> {
    const FOLDERS: [&str; 6] =
        ["/etc", "/usr", "/lib", "/lib64", "/etc/ssl/certs", "/var/lib/ca-certificates"];
    const FILES: [&str; 4] = [
        "/etc/resolv.conf",
        "/etc/hosts",
        "/etc/ssl/cert.pem",
        "/etc/ssl/certs/ca-certificates.crt",
    ];
    let folders = FOLDERS.into_iter().map(PathBuf::from);
    let files = FILES.into_iter().map(PathBuf::from);
    let of_file = |file: PathBuf| real(&file).parent().map(Path::to_owned);
    folders
        .map(|folder| real(&folder))
        .chain(files.filter_map(of_file))
        .filter(|folder| folder.is_dir() && folder != Path::new("/"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::config::environment::Environment;
    use crate::config::load;

    fn needs(base: &Path, more: &str) -> Needs {
        let text = format!(
            "
admin: {{ socket: {base}/run/admin.sock }}
sts: {{ region: eu-west-1 }}
profiles:
  one:
    source: {{ file: {{ path: {base}/secrets/keys.json }} }}
    serve_long_lived_keys: true
    access: {{ token_file: {base}/run/one/token }}
{more}",
            base = base.display()
        );
        let config = load::parse(&text, &Environment::default()).unwrap();
        Needs::of_relay(&config, None)
    }

    fn volume() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir_all(base.join("secrets/..1")).unwrap();
        fs::create_dir(base.join("run")).unwrap();
        fs::write(base.join("secrets/..1/keys.json"), "{}").unwrap();
        symlink("..1", base.join("secrets/..data")).unwrap();
        symlink("..data/keys.json", base.join("secrets/keys.json")).unwrap();
        (folder, base)
    }

    #[test]
    fn rules_name_folders_and_a_projected_volume_is_one() {
        let (_folder, base) = volume();
        let folders = needs(&base, "").folders().unwrap();
        assert_eq!(folders.written(), [base.join("run")], "the token's own is in it");
        assert!(folders.read().contains(&base.join("secrets")));
        assert!(!folders.let_read(&base));
        assert!(folders.let_read(Path::new("/etc/resolv.conf")));
    }

    #[test]
    fn a_folder_in_a_projected_volume_is_swapped_with_it() {
        let (_folder, base) = volume();
        fs::create_dir(base.join("secrets/..1/aws")).unwrap();
        fs::write(base.join("secrets/..1/aws/keys.json"), "{}").unwrap();
        symlink("..data/aws", base.join("secrets/aws")).unwrap();
        let need = Need::new("deep", &base.join("secrets/aws/keys.json"), Use::Read);
        let folders = Needs { files: vec![need.clone()], ..needs(&base, "") }.folders().unwrap();
        assert!(folders.let_read(&base.join("secrets/..2/aws/keys.json")));
        fs::create_dir_all(base.join("secrets/..2/aws")).unwrap();
        fs::remove_file(base.join("secrets/..data")).unwrap();
        symlink("..2", base.join("secrets/..data")).unwrap();
        assert_eq!(need.outside(&folders), None);
    }

    #[test]
    fn where_a_link_leads_is_a_folder_too() {
        let (_folder, base) = volume();
        fs::create_dir(base.join("elsewhere")).unwrap();
        fs::write(base.join("elsewhere/keys.json"), "{}").unwrap();
        fs::remove_file(base.join("secrets/keys.json")).unwrap();
        symlink("../elsewhere/keys.json", base.join("secrets/keys.json")).unwrap();
        let folders = needs(&base, "").folders().unwrap();
        assert!(folders.let_read(&base.join("secrets/other")));
        assert!(folders.let_read(&base.join("elsewhere/keys.json")));
    }

    #[test]
    fn a_folder_that_is_not_there_is_the_nearest_above_and_never_the_root() {
        let (_folder, base) = volume();
        fs::remove_dir_all(base.join("secrets")).unwrap();
        let folders = needs(&base, "").folders().unwrap();
        assert!(folders.let_read(&base.join("secrets/keys.json")));
        let missing = "    credentials_file: { path: /no-such-folder/keys }\n";
        let why = needs(&base, missing).folders().unwrap_err();
        assert!(why.starts_with("profiles.one.credentials_file.path: "), "{why}");
        assert!(why.contains("make the folder"), "{why}");
    }

    #[test]
    fn a_file_that_is_named_from_where_the_process_works_is_in_that_folder() {
        let here = std::env::current_dir().unwrap();
        let need = Need::new("SSL_CERT_FILE", Path::new("ca.pem"), Use::Read);
        for place in need.places() {
            assert_eq!(folder_of(&place, &need).unwrap(), real(&here));
        }
    }

    #[test]
    fn a_file_below_the_root_stands_for_itself() {
        let need = Need::new("file", Path::new("/no-such-file"), Use::Read);
        assert!(folder_of(Path::new("/no-such-file"), &need).is_err());
        let written = Need { used: Use::Written, ..need };
        assert!(folder_of(Path::new("/no-such-file"), &written).is_err());
    }

    #[test]
    fn what_is_outside_is_told_with_its_setting() {
        let (_folder, base) = volume();
        let folders = needs(&base, "").folders().unwrap();
        let inside = needs(&base, "").files;
        assert!(inside.iter().all(|need| need.outside(&folders).is_none()));
        let more = "    credentials_file: { path: /var/cache/keys }\n";
        let wanted = needs(&base, more).files;
        let outside: Vec<_> = wanted
            .iter()
            .filter_map(|need| Some((need.setting.as_str(), need.outside(&folders)?)))
            .collect();
        assert_eq!(outside, [("profiles.one.credentials_file.path", PathBuf::from("/var/cache"))]);
    }
}
