//! The one system call that is needed and that no safe wrapper has yet: `madvise(MADV_COLLAPSE)` (Linux 6.1).

use std::ffi::c_void;
use std::ptr::NonNull;

use rustix::io::Errno;

const MADV_COLLAPSE: usize = 25;

/// Whether the kernel knows the call: of a range without length, it looks at nothing else.
pub(crate) fn is_supported() -> bool {
    madvise(std::ptr::null_mut(), 0, MADV_COLLAPSE) == 0
}

/// Has the kernel put huge pages behind a range, with what is in its pages now.
pub(crate) fn collapse(base: NonNull<c_void>, len: usize) -> Result<(), Errno> {
    match madvise(base.as_ptr(), len, MADV_COLLAPSE) {
        0 => Ok(()),
        error => Err(Errno::from_raw_os_error(i32::try_from(-error).unwrap_or(0))),
    }
}

#[cfg(target_arch = "x86_64")]
fn madvise(base: *mut c_void, len: usize, advice: usize) -> isize {
    const MADVISE: isize = 28;
    let mut result = MADVISE;
    // SAFETY: the call changes neither what the range holds nor who may use it, whatever range it is, and the
    // registers that the kernel overwrites are named.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") result,
            in("rdi") base,
            in("rsi") len,
            in("rdx") advice,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack)
        );
    }
    result
}

#[cfg(target_arch = "aarch64")]
fn madvise(base: *mut c_void, len: usize, advice: usize) -> isize {
    const MADVISE: usize = 233;
    let result: isize;
    // SAFETY: the call changes neither what the range holds nor who may use it, whatever range it is, and the
    // kernel keeps all other registers.
    unsafe {
        std::arch::asm!(
            "svc 0",
            in("x8") MADVISE,
            inlateout("x0") base => result,
            in("x1") len,
            in("x2") advice,
            options(nostack)
        );
    }
    result
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn madvise(_base: *mut c_void, _len: usize, _advice: usize) -> isize {
    -(Errno::NOSYS.raw_os_error() as isize)
}
