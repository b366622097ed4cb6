//! The loops of a product with a row-major C; see [`gemm`](super) for the plan.

mod shares;

use super::panels::{PANEL_COLS, place};
use super::tile::{Ahead, COL_GRANULE, Finish, Kernel, Tile, even_part};
use super::{Epilogue, Matrix, pack};
use crate::buffer::{AllocError, Buffer, LINE_BYTES};
use crate::element::Number;
use crate::parallel::{SharedMut, for_each_index, try_for_each_index};
use crate::simd::Level;
use shares::Shares;

/// The most values of k in a block: a tile of A (14 rows of `f32`) then fits the first-level cache.
pub(super) const MAX_DEPTH: usize = 512;
/// The most bytes of B that a piece goes over again and again: with the next block, which is packed
/// meanwhile, a quarter of a second-level cache of 2 MiB.
const MAX_B_BYTES: usize = 256 << 10;
/// The most bytes of A that tiles read in place: the cache holds B, too.
const MAX_A_IN_PLACE_BYTES: usize = 640 << 10;
/// The most bytes of A that are packed at a time; more rows are taken in passes.
pub(super) const MAX_PACKED_A_BYTES: usize = 16 << 20;
/// The most tiles of A in a piece.
const MAX_PIECE_TILES: usize = 32;
/// The tiles of A that are packed at a time.
const PACKED_TILES: usize = 4;
/// The number of pieces aimed at, so that threads of unequal speed share the work well. Where B is
/// packed, more pieces would read too short a part of its rows.
const PIECES: usize = 8;
const PIECES_IN_PLACE: usize = 16;
/// The multiply-adds that make a piece worth handing to another thread.
const MIN_PIECE_WORK: usize = 1 << 18;
/// No tile has more rows.
pub(super) const MAX_TILE_ROWS: usize = 16;

/// The extents of a product.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub m: usize,
    pub n: usize,
    pub k: usize,
}

/// B.
#[derive(Clone, Copy)]
pub(super) enum Columns<'a, T> {
    /// To be packed, block by block.
    Strided(Matrix<'a, T>),
    /// Read in place, in the layout of [`panels`](super::panels).
    Panels(&'a [T]),
}

/// A.
#[derive(Clone, Copy)]
enum Rows<'a, T> {
    /// As [`pack_all_a`] leaves it.
    Packed(&'a [T]),
    /// Whole rows, read in place.
    InPlace(Matrix<'a, T>),
}

/// Whether tiles read A where it is, so that no piece waits for A to be packed. Each piece of other
/// columns reads it again, and the tiles are slower: that only pays within the second-level cache.
fn reads_a_in_place<T>(shape: Shape, a: &Matrix<'_, T>) -> bool {
    // The first-level cache has the same place for what lies this far apart, and eight such places:
    // the rows of a tile have to be spread over them.
    const WAY_BYTES: usize = 4096;
    let beyond = a.row_stride.saturating_mul(size_of::<T>()) % WAY_BYTES;
    let apart = beyond.min(WAY_BYTES - beyond);
    let bytes = shape.m.saturating_mul(shape.k).saturating_mul(size_of::<T>());
    bytes <= MAX_A_IN_PLACE_BYTES && a.col_stride == 1 && apart >= WAY_BYTES / 8
}

/// How a product is cut; it depends on the shape alone.
struct Cut {
    /// Values of k in a block.
    depth: usize,
    /// Rows of a tile.
    tile_rows: usize,
    /// Columns of a panel of B.
    panel_cols: usize,
    /// Rows and columns of a piece, whole tiles and panels.
    piece_rows: usize,
    piece_cols: usize,
}

impl Cut {
    fn new<T: Number>(kernel: Kernel<T>, b: Columns<'_, T>, Shape { m, n, k }: Shape) -> Self {
        let depth = even_part(k, MAX_DEPTH);
        let tile_rows = even_part(m, kernel.max_rows());
        let panel_cols = kernel.max_cols();
        let (tiles, panels) = (m.div_ceil(tile_rows), n.div_ceil(panel_cols));
        let work = m.saturating_mul(panels * panel_cols).saturating_mul(k);
        let max_pieces = match b {
            Columns::Strided(_) => PIECES,
            Columns::Panels(_) => PIECES_IN_PLACE,
        };
        let pieces = (work / MIN_PIECE_WORK).clamp(1, max_pieces);

        let row_pieces = tiles.div_ceil(MAX_PIECE_TILES);
        let col_pieces = pieces.div_ceil(row_pieces).min(panels);
        // Pieces of other rows read the same part of B once more.
        let row_pieces = row_pieces.max(pieces.min(PIECES) / col_pieces).min(tiles);
        let max_panels = MAX_B_BYTES / (depth * panel_cols * size_of::<T>());
        let piece_panels = even_part(panels.div_ceil(col_pieces), max_panels.max(1));
        Self {
            depth,
            tile_rows,
            panel_cols,
            piece_rows: tiles.div_ceil(row_pieces) * tile_rows,
            piece_cols: piece_panels * panel_cols,
        }
    }
}

/// `C = A B`, or `C += alpha A B` with `add_scaled`, then the epilogue. No extent is zero.
pub(super) fn product<T: Number>(
    level: Level,
    shape: Shape,
    a: Matrix<'_, T>,
    b: Columns<'_, T>,
    add_scaled: Option<T>,
    epilogue: Epilogue<'_, T>,
    c: &mut [T],
) -> Result<(), AllocError> {
    let row_bytes = shape.k.saturating_mul(size_of::<T>());
    let max_rows = (MAX_PACKED_A_BYTES / row_bytes).max(MAX_TILE_ROWS * MAX_PIECE_TILES);
    let pass_rows = even_part(shape.m, max_rows);
    let in_place = reads_a_in_place(shape, &a);
    let packed_bytes = if in_place { 0 } else { pass_rows.saturating_mul(row_bytes) };
    let mut packed_a = Buffer::uninit_reused(packed_bytes)?;
    for (index, c) in c.chunks_mut(pass_rows * shape.n).enumerate() {
        let a = a.with_data(a.window(index * pass_rows, 0));
        let shape = Shape { m: c.len() / shape.n, ..shape };
        let kernel = Kernel::<T>::new(level);
        let cut = Cut::new(kernel, b, shape);
        let a = if in_place {
            Rows::InPlace(a)
        } else {
            let packed = packed_a.as_mut_slice();
            pack_all_a(level, (shape.m, shape.k), (cut.tile_rows, cut.depth), a, packed);
            Rows::Packed(packed)
        };
        let pass =
            Pass { level, kernel, shape, cut, a, b, add_scaled, epilogue, c: SharedMut::new(c) };
        pass.run()?;
    }
    Ok(())
}

/// Packs all of A (`m` x `k`): for each block of k, its tiles one after the other. The tile at `row` of
/// the block at `start` is at `start * m + row * depth`.
pub(super) fn pack_all_a<T: Number>(
    level: Level,
    (m, k): (usize, usize),
    (tile_rows, max_depth): (usize, usize),
    a: Matrix<'_, T>,
    packed: &mut [T],
) {
    let packed = SharedMut::new(&mut packed[..m * k]);
    let chunk_rows = even_part(m.div_ceil(tile_rows), PACKED_TILES) * tile_rows;
    let chunks = m.div_ceil(chunk_rows);
    for_each_index(k.div_ceil(max_depth) * chunks, |index| {
        let start = index / chunks * max_depth;
        let depth = max_depth.min(k - start);
        let first_row = index % chunks * chunk_rows;
        for row in (first_row..m.min(first_row + chunk_rows)).step_by(tile_rows) {
            let rows = tile_rows.min(m - row);
            let place = start * m + row * depth;
            // SAFETY: tiles do not overlap, and this one belongs to this chunk alone.
            let packed = unsafe { packed.range(place, place + rows * depth) };
            pack::pack_a(level, &a, (row, rows), (start, depth), packed);
        }
    });
}

/// The product of as many rows of A as are packed at a time.
struct Pass<'a, T> {
    level: Level,
    kernel: Kernel<T>,
    shape: Shape,
    cut: Cut,
    a: Rows<'a, T>,
    b: Columns<'a, T>,
    add_scaled: Option<T>,
    epilogue: Epilogue<'a, T>,
    c: SharedMut<'a, T>,
}

/// A part of C: rows and columns, from and to before.
struct Piece {
    rows: (usize, usize),
    cols: (usize, usize),
}

/// A block of k: from, and how many.
#[derive(Clone, Copy)]
struct Block {
    k: usize,
    depth: usize,
}

impl<T: Number> Pass<'_, T> {
    fn run(&self) -> Result<(), AllocError> {
        let (Shape { m, n, k }, cut) = (self.shape, &self.cut);
        let col_pieces = n.div_ceil(cut.piece_cols);
        try_for_each_index(m.div_ceil(cut.piece_rows) * col_pieces, |index| {
            let first_row = index / col_pieces * cut.piece_rows;
            let first_col = index % col_pieces * cut.piece_cols;
            let piece = Piece {
                rows: (first_row, m.min(first_row + cut.piece_rows)),
                cols: (first_col, n.min(first_col + cut.piece_cols)),
            };
            let packed_len = match self.b {
                Columns::Strided(_) => cut.depth * cut.piece_cols,
                Columns::Panels(_) => 0,
            };
            let blocks = if k > cut.depth { 2 } else { 1 };
            let mut packed_b = Buffer::uninit_reused(blocks * packed_len * size_of::<T>())?;
            let (mut packed, mut next) = packed_b.as_mut_slice().split_at_mut(packed_len);
            for start in (0..k).step_by(cut.depth) {
                let block = Block { k: start, depth: cut.depth.min(k - start) };
                self.run_block(&piece, block, packed, next);
                std::mem::swap(&mut packed, &mut next);
            }
            Ok(())
        })
    }

    /// All tiles of a piece for one block of k. Those of the next block's panels of B that can be are
    /// packed meanwhile.
    fn run_block(&self, piece: &Piece, block: Block, packed_b: &mut [T], next_b: &mut [T]) {
        let (Shape { m, n, k }, cut) = (self.shape, &self.cut);
        let (end_row, (first_col, end_col)) = (piece.rows.1, piece.cols);
        if let Columns::Strided(b) = &self.b {
            self.pack_block(b, piece, block, packed_b);
        }
        let next = block.k + block.depth;
        let next = (next < k).then(|| Block { k: next, depth: cut.depth.min(k - next) });
        let mut shares = Shares::new(self, piece, next);
        let mut share = shares.next();
        let mut c_rows = [0; MAX_TILE_ROWS];
        (0..).zip(&mut c_rows).for_each(|(i, c_row)| *c_row = i * n);
        let mut a_rows = [0; MAX_TILE_ROWS];
        if let Rows::InPlace(a) = self.a {
            (0..).zip(&mut a_rows).for_each(|(i, a_row)| *a_row = i * a.row_stride);
        }

        for row in (piece.rows.0..end_row).step_by(cut.tile_rows) {
            for col in (first_col..end_col).step_by(cut.panel_cols) {
                let rows = cut.tile_rows.min(m - row);
                let cols = cut.panel_cols.min(end_col - col);
                let (b, b_stride) = match self.b {
                    Columns::Strided(b) if self.reads_in_place(&b, cols) => {
                        (b.window(block.k, col).as_ptr(), b.row_stride)
                    }
                    Columns::Strided(_) => {
                        let panel = &packed_b[(col - first_col) * block.depth..];
                        (panel.as_ptr(), pack::panel_width(cols))
                    }
                    Columns::Panels(panels) => {
                        (panels[place(k, block.k, col)..].as_ptr(), PANEL_COLS)
                    }
                };
                let (a, a_rows, step) = match self.a {
                    Rows::Packed(packed) => {
                        (packed[block.k * m + row * block.depth..].as_ptr(), None, rows)
                    }
                    Rows::InPlace(a) => (a.window(row, block.k).as_ptr(), Some(&a_rows[..]), 1),
                };
                let finish = Finish {
                    bias: self.epilogue.bias.map(|bias| bias[col..].as_ptr()),
                    activation: self.epilogue.activation,
                };
                let following = shares.next();
                let ahead = share.map(|share| share.ahead(following, cut.panel_cols, next_b));
                share = following;
                let add = if block.k == 0 { None } else { Some(T::ONE) };
                let tile = Tile {
                    rows,
                    cols,
                    a,
                    a_rows,
                    segments: &[0],
                    segment_len: block.depth,
                    step,
                    b,
                    b_stride,
                    c: self.c.as_mut_ptr().wrapping_add(row * n + col),
                    c_rows: &c_rows,
                    add_scaled: self.add_scaled.or(add),
                    finish: if next.is_none() { finish } else { Finish::NOTHING },
                    ahead: ahead.unwrap_or(Ahead::NOTHING),
                };
                // SAFETY: the tile's block of A is packed in full or lies within A, its panel of B is
                // packed or lies within B or the panels, the bias has all columns, and its part of C
                // lies within C and belongs to this piece alone. What is copied lies within B and
                // `next_b`.
                unsafe { self.kernel.run(&tile) };
            }
        }
    }

    /// Whether a panel of B is read where it is: by a single tile of A, which would not gain from
    /// packing, and in whole vectors.
    fn reads_in_place(&self, b: &Matrix<'_, T>, cols: usize) -> bool {
        self.shape.m <= self.cut.tile_rows && b.col_stride == 1 && cols.is_multiple_of(COL_GRANULE)
    }

    /// Whether a panel of B is packed by the tiles of the block before: whole, from whole rows.
    fn packs_ahead(&self, b: &Matrix<'_, T>, cols: usize) -> bool {
        b.col_stride == 1 && cols == self.cut.panel_cols && !self.reads_in_place(b, cols)
    }

    /// Packs what is not packed yet of the piece's columns of a block of B, a cache line of k at a
    /// time, so that each line and each page of B is read once.
    fn pack_block(&self, b: &Matrix<'_, T>, piece: &Piece, block: Block, packed: &mut [T]) {
        let run = LINE_BYTES / size_of::<T>();
        let (first_col, end_col) = piece.cols;
        for start in (0..block.depth).step_by(run) {
            let depth = run.min(block.depth - start);
            for col in (first_col..end_col).step_by(self.cut.panel_cols) {
                let cols = self.cut.panel_cols.min(end_col - col);
                if self.reads_in_place(b, cols) || block.k > 0 && self.packs_ahead(b, cols) {
                    continue;
                }
                let place = (col - first_col) * block.depth + start * pack::panel_width(cols);
                let rows = (block.k + start, depth);
                pack::pack_b(self.level, b, rows, (col, cols), &mut packed[place..]);
            }
        }
    }
}
