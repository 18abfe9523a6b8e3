//! Guest memory, reached only through checked slices.

use std::ops::Range;

use crate::abi::Status;
use crate::state::{Answer, Caller, HostState, Place};

/// The guest's memory and the host's state, side by side.
pub(crate) fn split<'a>(caller: &'a mut Caller<'_>) -> Answer<(&'a mut [u8], &'a mut HostState)> {
    let memory = caller.data().memory.ok_or(Status::InvalidMemoryAccess)?;
    Ok(memory.data_and_store_mut(caller))
}

fn range(memory: &[u8], pointer: u32, length: u32) -> Answer<Range<usize>> {
    let start = pointer as usize;
    match start.checked_add(length as usize) {
        Some(end) if end <= memory.len() => Ok(start..end),
        _ => Err(Status::InvalidMemoryAccess.into()),
    }
}

/// The `length` bytes at `pointer`.
pub(crate) fn slice(memory: &[u8], pointer: u32, length: u32) -> Answer<&[u8]> {
    let range = range(memory, pointer, length)?;
    memory.get(range).ok_or(Status::InvalidMemoryAccess.into())
}

/// The `length` bytes at `pointer`, to be written.
pub(crate) fn slice_mut(memory: &mut [u8], pointer: u32, length: u32) -> Answer<&mut [u8]> {
    let range = range(memory, pointer, length)?;
    memory.get_mut(range).ok_or(Status::InvalidMemoryAccess.into())
}

/// The little-endian word at `pointer`.
pub(crate) fn read_u32(memory: &[u8], pointer: u32) -> Answer<u32> {
    let bytes = slice(memory, pointer, 4)?.first_chunk::<4>().ok_or(Status::InvalidMemoryAccess)?;
    Ok(u32::from_le_bytes(*bytes))
}

/// Writes `bytes` at `pointer`.
pub(crate) fn write(memory: &mut [u8], pointer: u32, bytes: &[u8]) -> Answer {
    let length = u32::try_from(bytes.len()).map_err(|_| Status::InvalidMemoryAccess)?;
    slice_mut(memory, pointer, length)?.copy_from_slice(bytes);
    Ok(())
}

/// Writes one value through a guest's return pointer.
pub(crate) fn give<const N: usize>(caller: &mut Caller<'_>, pointer: u32, value: [u8; N]) -> Answer {
    let (memory, _) = split(caller)?;
    write(memory, pointer, &value)
}

/// Hands `bytes` to the guest: into memory from its own allocator, address and length through the two return
/// pointers. No bytes are a null pointer and length 0, without an allocation.
pub(crate) fn hand_over(caller: &mut Caller<'_>, bytes: &[u8], pointer_at: u32, length_at: u32) -> Answer {
    // Both return pointers are checked first: a guest that gives bad ones must not leak what it allocates.
    let (memory, _) = split(caller)?;
    slice(memory, pointer_at, 4)?;
    slice(memory, length_at, 4)?;
    let length = u32::try_from(bytes.len()).map_err(|_| Status::InternalFailure)?;
    let address = if length == 0 { 0 } else { allocate(caller, length)? };
    let (memory, _) = split(caller)?;
    write(memory, address, bytes)?;
    write(memory, pointer_at, &address.to_le_bytes())?;
    write(memory, length_at, &length.to_le_bytes())
}

/// Calls the guest's allocator. It may not call the host back, but for the few calls an allocator can need.
fn allocate(caller: &mut Caller<'_>, length: u32) -> Answer<u32> {
    // Taken out for the call and put back: a clone would cost more than the call.
    let allocator = caller.data_mut().allocate.take().ok_or(Status::InvalidMemoryAccess)?;
    let place = std::mem::replace(&mut caller.data_mut().place, Place::Allocator);
    let result = allocator.call(&mut *caller, length);
    let state = caller.data_mut();
    state.place = place;
    state.allocate = Some(allocator);
    match result {
        Ok(0) => Err(Status::InvalidMemoryAccess.into()),
        Ok(address) => Ok(address),
        // The guest is dead. Its own error goes on, with the backtrace it has.
        Err(error) => Err(crate::state::Fault::Guest(error)),
    }
}
