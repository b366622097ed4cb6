//! How the tiles of a block share the work on the block of B that follows.
//!
//! The block is seen as runs of rows at equal distances: the rows of a panel, or where a column of B
//! lies in memory as one line, so many elements of each column. Each run is cut into parts, and each
//! tile gets a part: the runs in turn, so that what a tile copies fits the caches well.

use super::{Block, Columns, Pass, Piece};
use crate::element::Number;
use crate::gemm::panels::{PANEL_COLS, place};
use crate::gemm::tile::Ahead;

/// The shares of a block of B, in the order of the tiles of the block before it.
pub(super) struct Shares<'a, T> {
    pass: &'a Pass<'a, T>,
    piece: &'a Piece,
    block: Block,
    runs: usize,
    /// Rows of a run, and of a part of it.
    run_rows: usize,
    part_rows: usize,
    /// The run and the row in it where the next share begins.
    run: usize,
    row: usize,
}

/// The part of a block of B that a tile takes care of.
#[derive(Clone, Copy)]
pub(super) struct Share<T> {
    start: *const T,
    rows: usize,
    /// The distance between rows.
    stride: usize,
    /// Where the packed rows begin; none where the rows are not packed by the tile.
    place: Option<usize>,
}

impl<'a, T: Number> Shares<'a, T> {
    /// The shares of `block`, or none where there is no such block.
    pub(super) fn new(pass: &'a Pass<'a, T>, piece: &'a Piece, block: Option<Block>) -> Self {
        let (cols, width) = (piece.cols.1 - piece.cols.0, pass.cut.panel_cols);
        let row_tiles = (piece.rows.1 - piece.rows.0).div_ceil(pass.cut.tile_rows);
        let panels = cols.div_ceil(width);
        let block = block.unwrap_or(Block { k: 0, depth: 0 });
        let (runs, run_rows) = match pass.b {
            _ if block.depth == 0 => (0, 0),
            Columns::Strided(b) if b.col_stride != 1 && b.row_stride != 1 => (0, 0),
            Columns::Strided(b) if b.col_stride != 1 => (block.depth.div_ceil(width), cols),
            _ => (panels, block.depth),
        };
        let parts = (panels * row_tiles).checked_div(runs).unwrap_or(0).max(1);
        let part_rows = run_rows.div_ceil(parts);
        Self { pass, piece, block, runs, run_rows, part_rows, run: 0, row: 0 }
    }
}

impl<T: Number> Iterator for Shares<'_, T> {
    type Item = Share<T>;

    fn next(&mut self) -> Option<Share<T>> {
        if self.run == self.runs {
            self.run = 0;
            self.row += self.part_rows;
        }
        if self.row >= self.run_rows {
            return None;
        }
        let (run, row, width) = (self.run, self.row, self.pass.cut.panel_cols);
        self.run += 1;
        let rows = self.part_rows.min(self.run_rows - row);
        let (k, (first_col, end_col)) = (self.block.k, self.piece.cols);
        let col = first_col + run * width;
        Some(match self.pass.b {
            Columns::Panels(panels) => {
                let start = panels[place(self.pass.shape.k, k + row, col)..].as_ptr();
                Share { start, rows, stride: PANEL_COLS, place: None }
            }
            Columns::Strided(b) if b.col_stride == 1 => {
                let place = (run * self.block.depth + row) * width;
                let packs = self.pass.packs_ahead(&b, width.min(end_col - col));
                let start = b.window(k + row, col).as_ptr();
                Share { start, rows, stride: b.row_stride, place: packs.then_some(place) }
            }
            Columns::Strided(b) => {
                let start = b.window(k + run * width, first_col + row).as_ptr();
                Share { start, rows, stride: b.col_stride, place: None }
            }
        })
    }
}

impl<T: Number> Share<T> {
    /// What a tile does about its share: it asks for it, or it packs it, as rows of `width` elements,
    /// and asks for the following tile's.
    pub(super) fn ahead(
        &self,
        following: Option<Self>,
        width: usize,
        packed: &mut [T],
    ) -> Ahead<T> {
        let &Self { start, rows, stride, place } = self;
        match place {
            None => Ahead::ask(start, rows, stride),
            Some(place) => Ahead {
                rows,
                stride,
                asked: following.map_or(start, |following| following.start),
                from: start,
                to: packed[place..][..rows * width].as_mut_ptr(),
            },
        }
    }
}
