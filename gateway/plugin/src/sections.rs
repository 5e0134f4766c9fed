//! What an artifact needs, read from its binary sections without compiling it.
//!
//! Only what has been validated is read here (the gateway's loader compiles it first); whatever this
//! reader does not know ends it with `None`, never with a guess.

use serde::Serialize;

/// What a component's core modules need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Needs {
    /// Core modules in it.
    pub core_modules: u32,
    /// Instances of core modules that one instance of it has.
    pub core_instances: u32,
    /// Linear memories.
    pub memories: u32,
    /// Bytes of linear memory that an instance starts with.
    pub min_memory: u64,
    /// Bytes of linear memory that an instance limits itself to; `None`: no limit of its own.
    pub max_memory: Option<u64>,
    /// Tables.
    pub tables: u32,
    /// Elements that its tables start with.
    pub table_elements: u64,
}

/// Bytes of a page of linear memory.
const PAGE: u64 = 64 << 10;
/// Components within components.
const MAX_DEPTH: u32 = 16;

/// Sections of a component.
mod component {
    pub const CORE_MODULE: u8 = 1;
    pub const CORE_INSTANCE: u8 = 2;
    pub const COMPONENT: u8 = 4;
}

/// Sections of a core module.
mod core {
    pub const TABLE: u8 = 4;
    pub const MEMORY: u8 = 5;
}

/// Reads what a component needs; `None` where it is none, or one of a form not known here.
#[must_use]
pub fn needs(component: &[u8]) -> Option<Needs> {
    let mut needs = Needs { max_memory: Some(0), ..Needs::default() };
    add_component(component, &mut needs, 0)?;
    Some(needs)
}

fn add_component(bytes: &[u8], needs: &mut Needs, depth: u32) -> Option<()> {
    if depth > MAX_DEPTH {
        return None;
    }
    let mut reader = Reader::past_header(bytes, [0x0d, 0, 1, 0])?;
    while !reader.0.is_empty() {
        let (id, content) = reader.section()?;
        match id {
            component::CORE_MODULE => add_module(content, needs)?,
            component::CORE_INSTANCE => needs.core_instances += instantiations(content)?,
            component::COMPONENT => add_component(content, needs, depth + 1)?,
            _ => {}
        }
    }
    Some(())
}

fn add_module(bytes: &[u8], needs: &mut Needs) -> Option<()> {
    needs.core_modules += 1;
    let mut reader = Reader::past_header(bytes, [1, 0, 0, 0])?;
    while !reader.0.is_empty() {
        let (id, content) = reader.section()?;
        let mut content = Reader(content);
        match id {
            core::MEMORY => {
                for _ in 0..content.number()? {
                    let (min, max) = content.limits()?;
                    needs.memories += 1;
                    needs.min_memory = needs.min_memory.checked_add(min.checked_mul(PAGE)?)?;
                    let max = max.and_then(|pages| pages.checked_mul(PAGE));
                    needs.max_memory = needs.max_memory.zip(max).and_then(|(sum, max)| sum.checked_add(max));
                }
            }
            core::TABLE => {
                for _ in 0..content.number()? {
                    needs.tables += 1;
                    // Function and external references; other tables are no toolchain's of today.
                    matches!(content.byte()?, 0x70 | 0x6f).then_some(())?;
                    needs.table_elements = needs.table_elements.checked_add(content.limits()?.0)?;
                }
            }
            _ => {}
        }
    }
    Some(())
}

/// How many of a section's core instances are made of a module; the others are bundles of exports.
fn instantiations(section: &[u8]) -> Option<u32> {
    let mut reader = Reader(section);
    let mut made = 0;
    for _ in 0..reader.number()? {
        match reader.byte()? {
            0 => {
                made += 1;
                reader.number()?;
                for _ in 0..reader.number()? {
                    reader.name()?;
                    reader.byte()?;
                    reader.number()?;
                }
            }
            1 => {
                for _ in 0..reader.number()? {
                    reader.name()?;
                    reader.byte()?;
                    reader.number()?;
                }
            }
            _ => return None,
        }
    }
    Some(made)
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn past_header(bytes: &'a [u8], version: [u8; 4]) -> Option<Self> {
        let rest = bytes.strip_prefix(b"\0asm")?;
        rest.strip_prefix(&version).map(Self)
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// An unsigned LEB128 number.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, bytes: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(bytes).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn name(&mut self) -> Option<&'a [u8]> {
        let bytes = self.number()?;
        self.take(bytes)
    }

    fn section(&mut self) -> Option<(u8, &'a [u8])> {
        let id = self.byte()?;
        let bytes = self.number()?;
        Some((id, self.take(bytes)?))
    }

    fn limits(&mut self) -> Option<(u64, Option<u64>)> {
        let flags = self.byte()?;
        let min = self.number()?;
        let max = if flags & 1 == 1 { Some(self.number()?) } else { None };
        Some((min, max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A section.
    fn section(id: u8, content: &[u8]) -> Vec<u8> {
        let size = u8::try_from(content.len());
        let mut bytes = vec![id];
        // Two bytes are enough for what is written here.
        match size {
            Ok(size) if size < 0x80 => bytes.push(size),
            _ => bytes.extend([
                u8::try_from(content.len() & 0x7f).expect("7 bits") | 0x80,
                u8::try_from(content.len() >> 7).expect("short"),
            ]),
        }
        bytes.extend_from_slice(content);
        bytes
    }

    fn module(sections: &[Vec<u8>]) -> Vec<u8> {
        [b"\0asm\x01\0\0\0".to_vec(), sections.concat()].concat()
    }

    fn component(sections: &[Vec<u8>]) -> Vec<u8> {
        [b"\0asm\x0d\0\x01\0".to_vec(), sections.concat()].concat()
    }

    #[test]
    fn memories_tables_and_instances_of_every_level_are_added_up() {
        // A custom section makes the module longer than a one-byte length.
        let bounded = module(&[section(0, &[0; 200]), section(4, &[1, 0x70, 1, 9, 9]), section(5, &[1, 1, 2, 4])]);
        let inner = component(&[section(1, &module(&[section(5, &[1, 1, 1, 1])]))]);
        // Instance 0 of module 0; a bundle of one export; instance of module 1 with it as an argument.
        let instances = [3, 0, 0, 0, 1, 1, 1, b'm', 2, 0, 0, 1, 1, 1, b'e', 0x12, 1];
        let bytes = component(&[section(1, &bounded), section(4, &inner), section(2, &instances)]);
        let read = needs(&bytes).expect("read");
        assert_eq!(
            read,
            Needs {
                core_modules: 2,
                core_instances: 2,
                memories: 2,
                min_memory: 3 * PAGE,
                max_memory: Some(5 * PAGE),
                tables: 1,
                table_elements: 9
            }
        );
    }

    #[test]
    fn one_memory_without_a_limit_leaves_all_without() {
        let module = module(&[section(5, &[2, 1, 1, 1, 0, 17])]);
        let read = needs(&component(&[section(1, &module)])).expect("read");
        assert_eq!((read.min_memory, read.max_memory), (18 * PAGE, None));
    }

    #[test]
    fn what_is_cut_off_is_not_read() {
        let whole = component(&[section(1, &module(&[section(5, &[1, 0, 1])]))]);
        assert!(needs(&whole).is_some());
        for cut in (0..whole.len()).filter(|cut| *cut != 8) {
            assert_eq!(needs(&whole[..cut]), None, "{cut} bytes");
        }
    }
}
