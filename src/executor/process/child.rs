//! A program as a child process, started without a copy of our memory's map.
//!
//! The standard library forks where something is to be done between fork and exec, and a fork copies
//! the page tables: with a hundred thousand stages in memory, that takes longer than most programs
//! run. So here the child shares our memory until its exec, as `posix_spawn` has it, and asks the
//! kernel by itself to die with the thread that started it. Knows nothing of logs or of groups' ends.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr, OsString, c_char, c_int, c_void};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};
use std::{iter, ptr};

use rustix::process::{Pid, PidfdFlags, WaitOptions, getpid, pidfd_open, waitpid};
use tokio::io::unix::AsyncFd;

use super::{orphans, program};

/// Bytes of the child's stack until its exec; it calls the system and nothing else.
const STACK: usize = 32 * 1024;

/// A program that was started.
#[derive(Debug)]
pub struct Child {
    id: Pid,
    handle: AsyncFd<OwnedFd>,
    status: Option<ExitStatus>,
}

impl Child {
    /// Gives its process id, which is its group's too; `None` once it was waited for.
    pub fn id(&self) -> Option<Pid> {
        self.status.is_none().then_some(self.id)
    }

    /// Waits for its end; may be given up and called again.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.status {
                return Ok(status);
            }
            // It is readable from the program's end on, however early that came.
            let mut ended = self.handle.readable().await?;
            self.status = look(self.id)?;
            match self.status {
                Some(_) => orphans::forget(self.id),
                None => ended.clear_ready(),
            }
        }
    }
}

/// Gives the status of a child that has ended and was not waited for.
fn look(id: Pid) -> io::Result<Option<ExitStatus>> {
    let ended = waitpid(Some(id), WaitOptions::NOHANG)?;
    Ok(ended.map(|(_, status)| ExitStatus::from_raw(status.as_raw())))
}

impl Drop for Child {
    fn drop(&mut self) {
        // One that was killed but not waited for would stay in the system's table.
        if self.status.is_none() && look(self.id).is_ok_and(|status| status.is_some()) {
            orphans::forget(self.id);
        }
    }
}

/// Starts a program in a process group of its own, with no input, what it says in `output` and
/// `errors`; of `command`, the program, its arguments, the changes of the environment and the folder
/// count. The kernel kills it when the calling thread dies.
///
/// # Errors
///
/// Why it cannot be started.
#[expect(clippy::needless_pass_by_value, reason = "as the portable way has it")]
pub fn spawn(command: Command, output: File, errors: File) -> io::Result<Child> {
    let input = nothing()?;
    let texts = Texts::of(&command)?;
    let arguments = pointers(&texts.arguments);
    let mut image = Image {
        candidates: pointers(&texts.candidates),
        // The shell, and the file that it is to run, which is put in when it is known.
        by_shell: [c"/bin/sh".as_ptr(), ptr::null()]
            .into_iter()
            .chain(arguments.iter().skip(1).copied())
            .collect(),
        arguments,
        environment: texts
            .inherited
            .iter()
            .map(|pair| pair.as_ptr())
            .chain(pointers(&texts.environment))
            .collect(),
        folder: texts.folder.as_ref().map_or(ptr::null(), |folder| folder.as_ptr()),
        streams: [input.as_raw_fd(), output.as_raw_fd(), errors.as_raw_fd()],
        parent: getpid().as_raw_nonzero().get(),
        error: 0,
    };
    let mut programs = orphans::programs();
    let id = start(&mut image)?;
    programs.push(id);
    drop(programs);
    let handle = pidfd_open(id, PidfdFlags::NONBLOCK).map_err(io::Error::from).and_then(register);
    match handle {
        Ok(handle) => Ok(Child { id, handle, status: None }),
        Err(error) => {
            // Nobody could wait for it.
            let _ = rustix::process::kill_process_group(id, rustix::process::Signal::KILL);
            let _ = waitpid(Some(id), WaitOptions::empty());
            orphans::forget(id);
            Err(error)
        }
    }
}

/// Gives what a program without input reads; opened once, since each that starts gets a copy.
fn nothing() -> io::Result<&'static File> {
    static NOTHING: OnceLock<File> = OnceLock::new();

    match NOTHING.get() {
        Some(file) => Ok(file),
        None => File::open("/dev/null").map(|file| NOTHING.get_or_init(|| file)),
    }
}

fn register(handle: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor stays open and the same as long as it is owned, and it goes with
    // what owns it.
    Ok(unsafe { AsyncFd::register_with_interest(handle, tokio::io::Interest::READABLE) }?)
}

/// The texts of a program's start as the system wants them.
struct Texts {
    candidates: Vec<CString>,
    arguments: Vec<CString>,
    /// What it inherits of our environment.
    inherited: Vec<&'static CStr>,
    /// What is set in it otherwise.
    environment: Vec<CString>,
    folder: Option<CString>,
}

impl Texts {
    fn of(command: &Command) -> io::Result<Texts> {
        let changes: BTreeMap<&OsStr, Option<&OsStr>> = command.get_envs().collect();
        let path = match changes.get(OsStr::new("PATH")) {
            Some(changed) => changed.map(OsStr::to_owned),
            None => std::env::var_os("PATH"),
        };
        let program = command.get_program();
        let candidates = candidates(program, path.as_deref());
        let inherited = OURS.iter().filter(|(name, _)| !changes.contains_key(name.as_os_str()));
        let set = changes.iter().filter_map(|(name, value)| Some((name, (*value)?)));
        Ok(Texts {
            candidates: candidates
                .iter()
                .map(|one| text(one.as_os_str().as_bytes()))
                .collect::<Result<_, _>>()?,
            arguments: iter::once(program)
                .chain(command.get_args())
                .map(|argument| text(argument.as_bytes()))
                .collect::<Result<_, _>>()?,
            inherited: inherited.map(|(_, pair)| pair.as_c_str()).collect(),
            environment: set
                .map(|(name, value)| text(pair(name, value)))
                .collect::<Result<_, _>>()?,
            folder: command
                .get_current_dir()
                .map(|folder| text(folder.as_os_str().as_bytes()))
                .transpose()?,
        })
    }
}

/// Gives the files that a program may be, in the order in which they are tried.
fn candidates(program: &OsStr, path: Option<&OsStr>) -> Vec<PathBuf> {
    /// Where the shell was found, and by which `PATH`.
    static SHELL: Mutex<Option<(Option<OsString>, PathBuf)>> = Mutex::new(None);

    let mut all = program::candidates(program, path);
    if program != "sh" {
        return all;
    }
    // Each line of a pipeline is run by it: it is looked for once.
    let mut shell = SHELL.lock().unwrap_or_else(PoisonError::into_inner);
    if shell.as_ref().is_none_or(|(by, _)| by.as_deref() != path) {
        let found = all.iter().find(|file| program::is_program(file));
        *shell = found.map(|found| (path.map(OsStr::to_owned), found.clone()));
    }
    all.splice(..0, shell.iter().map(|(_, found)| found.clone()));
    all
}

/// Our environment as the system wants it, by name: nothing in this program changes it.
static OURS: LazyLock<Vec<(OsString, CString)>> = LazyLock::new(|| {
    // The system has given it, so no text holds a nul.
    let as_text =
        |(name, value): (OsString, OsString)| Some((name.clone(), text(pair(&name, &value)).ok()?));
    std::env::vars_os().filter_map(as_text).collect()
});

fn pair(name: &OsStr, value: &OsStr) -> Vec<u8> {
    [name.as_bytes(), b"=", value.as_bytes()].concat()
}

fn text(bytes: impl Into<Vec<u8>>) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "it holds a nul"))
}

/// Gives pointers to texts, with the null at their end that the system wants.
fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
}

/// All that the child needs, laid out before it exists: it must not allocate.
struct Image {
    candidates: Vec<*const c_char>,
    arguments: Vec<*const c_char>,
    by_shell: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    folder: *const c_char,
    streams: [c_int; 3],
    parent: c_int,
    /// What kept the child from its exec, for the parent to read.
    error: c_int,
}

/// Makes the child and waits for its exec.
fn start(image: &mut Image) -> io::Result<Pid> {
    let mut stack = vec![0u128; STACK / size_of::<u128>()];
    let top = stack.as_mut_ptr_range().end;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let argument = ptr::from_mut(image).cast::<c_void>();
    // SAFETY: signals are blocked around the call, so that no handler of ours runs in the child, and
    // the mask is restored after it. With CLONE_VFORK this thread is suspended until the child has
    // called exec or has ended, so `image` and `stack`, whose end is aligned and which is far larger
    // than what `enter` and the calls in it need, outlive the child's use of them, and nobody else
    // has them meanwhile.
    let id = unsafe {
        let mut all = std::mem::zeroed();
        let mut before = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        let id = libc::clone(enter, top.cast(), flags, argument);
        let id = if id < 0 { Err(io::Error::last_os_error()) } else { Ok(id) };
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut());
        id?
    };
    // The system has just given it.
    let id = Pid::from_raw(id).expect("a child's id");
    if image.error != 0 {
        let _ = waitpid(Some(id), WaitOptions::empty());
        return Err(io::Error::from_raw_os_error(image.error));
    }
    Ok(id)
}

/// The child's life until its exec; its result is its exit code where there is none.
extern "C" fn enter(image: *mut c_void) -> c_int {
    // SAFETY: `start` hands over an image that nobody else has until this child has called exec or
    // has ended. What is called here are system calls, which neither allocate nor take a lock.
    unsafe {
        let image = &mut *image.cast::<Image>();
        image.error = prepare(image).and_then(|()| execute(image)).map_or_else(errno, |()| 0);
    }
    127
}

fn errno(error: io::Error) -> c_int {
    error.raw_os_error().unwrap_or(libc::EINVAL)
}

/// Does what is to be done before the exec.
///
/// # Safety
///
/// Only for [`enter`].
unsafe fn prepare(image: &Image) -> io::Result<()> {
    // SAFETY: system calls on values of this process; `folder` is null or a text of `start`'s caller.
    unsafe {
        done(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
        // The parent may have died before it was asked.
        if libc::getppid() != image.parent {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        done(libc::setpgid(0, 0))?;
        for (stream, file) in (0..).zip(image.streams) {
            done(libc::dup2(file, stream))?;
        }
        if !image.folder.is_null() {
            done(libc::chdir(image.folder))?;
        }
        forget_handlers();
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        done(libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()))
    }
}

/// Lets no handler of ours run once signals come through again; what is ignored stays so, but for
/// SIGPIPE, which the standard library ignores for us alone.
///
/// # Safety
///
/// Only for [`enter`].
unsafe fn forget_handlers() {
    // The real-time signals have no handlers of ours.
    for signal in 1..libc::SIGRTMIN() {
        // SAFETY: the table of handlers is this process's own, and the default is no function.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            let known = libc::sigaction(signal, ptr::null(), &raw mut action) == 0;
            let is_ours = action.sa_sigaction != libc::SIG_DFL
                && (action.sa_sigaction != libc::SIG_IGN || signal == libc::SIGPIPE);
            if known && is_ours {
                let default: libc::sigaction = std::mem::zeroed();
                libc::sigaction(signal, &raw const default, ptr::null_mut());
            }
        }
    }
}

/// Becomes the first candidate that there is, as `execvp` does; comes back only with an error.
///
/// # Safety
///
/// Only for [`enter`].
unsafe fn execute(image: &mut Image) -> io::Result<()> {
    let (arguments, environment) = (image.arguments.as_ptr(), image.environment.as_ptr());
    let mut worst = io::Error::from_raw_os_error(libc::ENOENT);
    for candidate in image.candidates.iter().filter(|candidate| !candidate.is_null()) {
        // SAFETY: texts and lists of `start`'s caller, each with its end.
        unsafe { libc::execve(*candidate, arguments, environment) };
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => {}
            Some(libc::EACCES) => worst = error,
            Some(libc::ENOEXEC) => {
                // A script without its first line.
                image.by_shell[1] = *candidate;
                // SAFETY: as above.
                unsafe { libc::execve(image.by_shell[0], image.by_shell.as_ptr(), environment) };
                return Err(io::Error::last_os_error());
            }
            _ => return Err(error),
        }
    }
    Err(worst)
}

fn done(result: c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
