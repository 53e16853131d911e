//! The terminal: taken at the beginning, and given back as it was however the command ends: by its own will,
//! by a signal, or by a panic.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use ratatui::{DefaultTerminal, Frame};
use rustix::event::{PollFd, PollFlags, Timespec};
use signal_hook::consts::{SIGHUP, SIGWINCH};

use crate::failure::Failure;
use crate::signals::{Signals, Woken};

pub(super) struct Screen {
    terminal: DefaultTerminal,
    signals: Signals,
    /// Readable when the terminal's size has changed.
    resized: UnixStream,
}

/// What woke the command.
#[derive(Debug)]
pub(super) enum Input {
    Nothing,
    Key(KeyEvent),
    /// A signal, or the end of the terminal.
    Ended,
}

impl Screen {
    pub(super) fn take() -> Result<Self, Failure> {
        if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            return Err(Failure::NoTerminal);
        }
        let signals = Signals::install()?;
        let resized = resizes().map_err(Failure::system("take over signals"))?;
        // Without its terminal there is nothing to give back; and the library that reads keys does not come back from
        // reading one that has hung up.
        let always = Arc::new(AtomicBool::new(true));
        signal_hook::flag::register_conditional_default(SIGHUP, always)
            .map_err(Failure::system("take over signals"))?;
        // Also makes a panic give the terminal back before it is told.
        let terminal = ratatui::try_init().map_err(Failure::system("take the terminal"))?;
        Ok(Self { terminal, signals, resized })
    }

    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> Result<(), Failure> {
        self.terminal.draw(draw).map(drop).map_err(Failure::output)
    }

    /// Sleeps until a key is pressed, or anything else happens, or `deadline`.
    pub(super) fn wait(&self, deadline: Instant) -> Result<Input, Failure> {
        let read = Failure::system("read the keyboard");
        if has_hung_up() {
            return Ok(Input::Ended);
        }
        // Some may have been read along with the last one.
        if !event::poll(Duration::ZERO).map_err(read)? {
            let stdin = io::stdin();
            let watched = [(stdin.as_fd(), PollFlags::IN), (self.resized.as_fd(), PollFlags::IN)];
            match self.signals.wait(&watched, Some(deadline))? {
                Woken::Signal => return Ok(Input::Ended),
                Woken::Deadline => return Ok(Input::Nothing),
                Woken::Ready(_) => {}
            }
            if has_hung_up() {
                return Ok(Input::Ended);
            }
            while io::Read::read(&mut &self.resized, &mut [0; 64]).is_ok_and(|read| read > 0) {}
            // What made it readable need not be an event.
            match event::poll(Duration::ZERO) {
                Ok(true) => {}
                Ok(false) => return Ok(Input::Nothing),
                Err(_) => return Ok(Input::Ended),
            }
        }
        match event::read() {
            Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => Ok(Input::Key(key)),
            Ok(_) => Ok(Input::Nothing),
            Err(_) => Ok(Input::Ended),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Whether the terminal is gone, though nobody was told by a signal.
fn has_hung_up() -> bool {
    let stdin = io::stdin();
    let mut polled = [PollFd::new(&stdin, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut polled, Some(&now)).is_ok_and(|ready| ready > 0)
}

fn resizes() -> io::Result<UnixStream> {
    let (resized, ringer) = UnixStream::pair()?;
    resized.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(SIGWINCH, ringer)?;
    Ok(resized)
}
