//! The notation of positions, in the list that is read and in the files that are written.

/// How positions are written down.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `chrom:pos` lines; positions count from 1.
    #[default]
    Text,
    /// Variant Call Format.
    Vcf,
    /// BED: intervals, counted from 0, without their end.
    Bed,
}
