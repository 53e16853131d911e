//! Rows of cells that know how they are sorted, apart from how they are drawn.

use std::cmp::Ordering;

/// A column's heading, and the room that it takes: at least so many characters; what is left over goes to the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) heading: &'static str,
    pub(super) width: u16,
}

pub(super) const fn column(heading: &'static str, width: u16) -> Column {
    Column { heading, width }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cell {
    pub(super) text: String,
    /// What it is sorted by; text is sorted as text.
    pub(super) number: Option<f64>,
    /// Something that somebody should look at.
    pub(super) is_bad: bool,
}

impl Cell {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), number: None, is_bad: false }
    }

    /// A number, shown as `text`.
    pub(super) fn number(number: f64, text: impl Into<String>) -> Self {
        Self { text: text.into(), number: Some(number), is_bad: false }
    }

    pub(super) fn count(count: u64) -> Self {
        Self::number(count as f64, count.to_string())
    }

    pub(super) fn bad_if(self, is_bad: bool) -> Self {
        Self { is_bad, ..self }
    }

    fn compare(&self, other: &Self) -> Ordering {
        match (self.number, other.number) {
            (Some(one), Some(other)) => one.total_cmp(&other),
            _ => self.text.cmp(&other.text),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// What is the same at the next look.
    pub(super) key: String,
    pub(super) cells: Vec<Cell>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Row>,
}

/// By which column, and which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) column: usize,
    pub(super) is_descending: bool,
}

impl Table {
    /// Keeps the rows that contain `text`, in small or capital letters.
    pub(super) fn filter(&mut self, text: &str) {
        let wanted = text.to_lowercase();
        self.rows.retain(|row| row.cells.iter().any(|cell| cell.text.to_lowercase().contains(&wanted)));
    }

    /// Rows that are equal in the column are in the order of their keys, so that they keep their places.
    pub(super) fn sort(&mut self, order: Order) {
        let compare =
            |one: &Row, other: &Row| match (one.cells.get(order.column), other.cells.get(order.column)) {
                (Some(one), Some(other)) => one.compare(other),
                _ => Ordering::Equal,
            };
        self.rows.sort_by(|one, other| {
            let by_column = compare(one, other);
            let by_column = if order.is_descending { by_column.reverse() } else { by_column };
            by_column.then_with(|| one.key.cmp(&other.key))
        });
    }
}
