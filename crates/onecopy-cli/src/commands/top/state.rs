//! What is shown, and what keys do to it. Knows nothing of terminals but what a key is.

use std::time::Instant;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::details;
use super::rates::Rates;
use super::snapshot::Snapshot;
use super::table::{Order, Table};
use super::views::{self, VIEWS, View};

/// Whether the command goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    GoOn,
    End,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) instance: String,
    pub(super) snapshot: Snapshot,
    pub(super) rates: Rates,
    pub(super) view: View,
    /// By view.
    orders: [Order; VIEWS.len()],
    /// Key of the selected row.
    selected: Option<String>,
    pub(super) filter: String,
    /// The filter is being typed.
    pub(super) is_typing: bool,
    /// What is looked into, by key.
    pub(super) looked_into: Option<String>,
    /// Lines of what is looked into that are above the screen.
    pub(super) scrolled: u16,
    /// Rows that are on the screen at once.
    pub(super) page_rows: usize,
}

impl State {
    pub(super) fn new(instance: &str) -> Self {
        Self {
            instance: instance.to_owned(),
            snapshot: Snapshot::default(),
            rates: Rates::default(),
            view: View::Topics,
            orders: VIEWS.map(View::order),
            selected: None,
            filter: String::new(),
            is_typing: false,
            looked_into: None,
            scrolled: 0,
            page_rows: 1,
        }
    }

    /// Takes in what there is now.
    pub(super) fn update(&mut self, snapshot: Snapshot, now: Instant) {
        self.rates.update(&snapshot, now);
        self.snapshot = snapshot;
    }

    pub(super) fn order(&self) -> Order {
        self.orders[self.view as usize]
    }

    /// The table of the view, sorted and filtered.
    pub(super) fn table(&self) -> Table {
        let mut table = views::table(self.view, &self.snapshot, &self.rates);
        table.filter(&self.filter);
        table.sort(self.order());
        table
    }

    /// What the thing that is looked into consists of; `None` if none is, or it is gone.
    pub(super) fn details(&self) -> Option<Vec<(String, Table)>> {
        details::tables(self.view, self.looked_into.as_deref()?, &self.snapshot, &self.rates)
    }

    /// The selected row's number in the table: that of the same thing as before, or the first.
    pub(super) fn selected_row(&self, table: &Table) -> Option<usize> {
        let kept = self.selected.as_ref().and_then(|key| table.rows.iter().position(|row| row.key == *key));
        kept.or((!table.rows.is_empty()).then_some(0))
    }

    /// Does what a key says.
    pub(super) fn press(&mut self, key: KeyEvent) -> Flow {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if key.code == KeyCode::Char('c') { Flow::End } else { Flow::GoOn };
        }
        if self.is_typing {
            self.type_filter(key.code);
            return Flow::GoOn;
        }
        match key.code {
            KeyCode::Char('q') => return Flow::End,
            KeyCode::Esc if self.looked_into.is_some() => self.looked_into = None,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('/') => (self.is_typing, self.looked_into) = (true, None),
            KeyCode::Char(digit @ '1'..='9') => {
                if let Some(view) = VIEWS.get(digit as usize - '1' as usize) {
                    self.show(*view);
                }
            }
            KeyCode::Tab => self.show(VIEWS[(self.view as usize + 1) % VIEWS.len()]),
            KeyCode::BackTab => self.show(VIEWS[(self.view as usize + VIEWS.len() - 1) % VIEWS.len()]),
            KeyCode::Char('s') => self.sort_by_next(1),
            KeyCode::Char('S') => self.sort_by_next(-1),
            KeyCode::Char('r') => {
                let order = &mut self.orders[self.view as usize];
                order.is_descending = !order.is_descending;
            }
            KeyCode::Enter => {
                let table = self.table();
                self.looked_into = self.selected_row(&table).map(|row| table.rows[row].key.clone());
                self.selected = self.looked_into.clone();
                self.scrolled = 0;
            }
            KeyCode::Up | KeyCode::Char('k') => self.go(-1),
            KeyCode::Down | KeyCode::Char('j') => self.go(1),
            KeyCode::PageUp => self.go(-(self.page_rows as isize)),
            KeyCode::PageDown => self.go(self.page_rows as isize),
            KeyCode::Home => self.go(isize::MIN),
            KeyCode::End => self.go(isize::MAX),
            _ => {}
        }
        Flow::GoOn
    }

    fn type_filter(&mut self, key: KeyCode) {
        match key {
            KeyCode::Char(character) => self.filter.push(character),
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.filter.clear();
            }
            _ => {}
        }
    }

    fn show(&mut self, view: View) {
        if self.view != view {
            (self.view, self.selected, self.looked_into) = (view, None, None);
        }
    }

    /// Names are in the order of the alphabet at first, numbers begin with the largest.
    fn sort_by_next(&mut self, step: isize) {
        let table = self.table();
        let columns = table.columns.len() as isize;
        let order = &mut self.orders[self.view as usize];
        order.column = (order.column as isize + step).rem_euclid(columns) as usize;
        order.is_descending =
            table.rows.iter().filter_map(|row| row.cells.get(order.column)).any(|cell| cell.number.is_some());
    }

    /// Selects another row, or scrolls what is looked into.
    fn go(&mut self, rows: isize) {
        if self.looked_into.is_some() {
            let scrolled = isize::from(i16::try_from(self.scrolled).unwrap_or(i16::MAX)).saturating_add(rows);
            self.scrolled = u16::try_from(scrolled.clamp(0, i16::MAX.into())).unwrap_or(0);
            return;
        }
        let table = self.table();
        if let Some(row) = self.selected_row(&table) {
            let last = table.rows.len() as isize - 1;
            let row = (row as isize).saturating_add(rows).clamp(0, last);
            self.selected = table.rows.get(row as usize).map(|row| row.key.clone());
        }
    }
}
