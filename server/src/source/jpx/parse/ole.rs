//! The container of an .xls, as far as it takes to look at the workbook before calamine does: calamine 0.38 follows
//! chains of sectors that run in circles until memory is gone, which no caller can catch.

/// Why a container is refused, in words that follow "it".
pub(super) type Fault = &'static str;

const END_OF_CHAIN: u32 = 0xFFFF_FFFE;
/// Sector numbers from here on have other meanings.
const RESERVED: u32 = 0xFFFF_FFFA;
const HEADER_BYTES: usize = 512;
const ENTRY_BYTES: usize = 128;
const MINI_SECTOR_BYTES: usize = 64;
/// Streams shorter than this lie in mini sectors.
const MINI_STREAM_BYTES: usize = 4096;

/// The stream `Workbook` (or `Book`) of an OLE2 file whose chains all end.
pub(super) fn workbook(file: &[u8]) -> Result<Vec<u8>, Fault> {
    let container = Container::of(file)?;
    let directory = chain(&container.sectors, &container.fat, container.directory_at, usize::MAX)?;
    let entries: Vec<Entry> =
        directory.chunks_exact(ENTRY_BYTES).filter_map(|entry| container.entry(entry)).collect();
    // calamine obeys byte-order marks here and would take another entry for the workbook.
    if entries.iter().any(|entry| entry.has_mark) {
        return Err("has a marked name in its directory");
    }
    let root = entries.first().ok_or("has no directory")?;
    let find = |name: &str| entries.iter().find(|entry| entry.name.eq_ignore_ascii_case(name));
    if find("EncryptedPackage").is_some() {
        return Err("is protected with a password");
    }
    let entry = find("Workbook").or_else(|| find("Book")).ok_or("has no workbook inside")?;
    let (mini_fat, mini_stream) = if container.has_mini_fat {
        let mini_fat = chain(&container.sectors, &container.fat, container.mini_fat_at, usize::MAX)?;
        (mini_fat, chain(&container.sectors, &container.fat, root.start, root.size)?)
    } else {
        Default::default()
    };
    if entry.size >= MINI_STREAM_BYTES {
        return chain(&container.sectors, &container.fat, entry.start, entry.size);
    }
    let mini_fat: Vec<u32> = mini_fat.chunks_exact(4).filter_map(|bytes| u32_at(bytes, 0)).collect();
    let mini_sectors: Vec<&[u8]> = mini_stream.chunks(MINI_SECTOR_BYTES).collect();
    chain(&mini_sectors, &mini_fat, entry.start, entry.size)
}

struct Container<'a> {
    sectors: Vec<&'a [u8]>,
    fat: Vec<u32>,
    directory_at: u32,
    mini_fat_at: u32,
    has_mini_fat: bool,
    has_long_sizes: bool,
}

struct Entry {
    name: String,
    has_mark: bool,
    start: u32,
    size: usize,
}

impl<'a> Container<'a> {
    fn of(file: &'a [u8]) -> Result<Self, Fault> {
        let sector_bytes = match u16_at(file, 30) {
            Some(9) => 512,
            Some(12) => 4096,
            _ => return Err("has no known sector size"),
        };
        let sectors: Vec<&[u8]> = file.get(sector_bytes..).unwrap_or_default().chunks(sector_bytes).collect();
        let header = |at| u32_at(file, at).ok_or("is cut in its header");
        let mut fat_at: Vec<u32> = (76..HEADER_BYTES).step_by(4).filter_map(|at| u32_at(file, at)).collect();
        let mut more_at = header(68)?;
        let mut rounds = 0;
        while more_at < RESERVED {
            rounds += 1;
            let sector = sectors.get(more_at as usize).filter(|_| rounds <= sectors.len());
            let sector = sector.ok_or("has a broken table of sectors")?;
            fat_at.extend(sector.chunks_exact(4).filter_map(|bytes| u32_at(bytes, 0)));
            more_at = fat_at.pop().unwrap_or(END_OF_CHAIN);
        }
        fat_at.retain(|at| *at < RESERVED);
        // Each sector of the table once: repeating them makes a table of any size out of a small file.
        if fat_at.len() > sectors.len() {
            return Err("has a broken table of sectors");
        }
        let mut fat = Vec::new();
        for at in fat_at {
            let sector = sectors.get(at as usize).ok_or("has a table of sectors beyond its end")?;
            fat.extend(sector.chunks_exact(4).filter_map(|bytes| u32_at(bytes, 0)));
        }
        Ok(Self {
            sectors,
            fat,
            directory_at: header(48)?,
            mini_fat_at: header(60)?,
            has_mini_fat: header(64)? > 0,
            has_long_sizes: sector_bytes == 4096,
        })
    }

    fn entry(&self, bytes: &[u8]) -> Option<Entry> {
        let units = bytes.get(..64)?.chunks_exact(2).filter_map(|unit| u16_at(unit, 0));
        let name: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
        let low = u32_at(bytes, 120)?;
        let high = if self.has_long_sizes { u32_at(bytes, 124)? } else { 0 };
        let size = usize::try_from(u64::from(high) << 32 | u64::from(low)).ok()?;
        let has_mark = matches!(name.first(), Some(0xFEFF | 0xFFFE | 0xBBEF));
        Some(Entry { has_mark, name: String::from_utf16_lossy(&name), start: u32_at(bytes, 116)?, size })
    }
}

/// The bytes of a chain of sectors, at most `size`.
fn chain(sectors: &[&[u8]], fat: &[u32], start: u32, size: usize) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    let mut at = start;
    for _ in 0..=sectors.len() {
        if at >= RESERVED || bytes.len() >= size {
            bytes.truncate(size);
            return Ok(bytes);
        }
        let sector = sectors.get(at as usize).ok_or("has a chain of sectors beyond its end")?;
        bytes.extend_from_slice(sector);
        at = *fat.get(at as usize).ok_or("has a chain of sectors beyond its table")?;
    }
    Err("has a chain of sectors that runs in a circle")
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
