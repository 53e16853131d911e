//! The screen: a line about the instance, the views, a table, a line about the keys. Fits 80 by 24 characters.

use std::ops::Range;

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row, Table as TableWidget, TableState};

use super::state::State;
use super::table::{Column, Table};
use super::views::VIEWS;
use crate::units::bytes;
use onecopy::counted;

const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);
const FAINT: Style = Style::new().add_modifier(Modifier::DIM);
const BAD: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
const HERE: Style = Style::new().add_modifier(Modifier::REVERSED);

pub(super) fn draw(frame: &mut Frame<'_>, state: &mut State) {
    let [top, views, body, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(2),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(instance(state)), top);
    let lines = vec![view_line(state), stuck_line(state)];
    frame.render_widget(Paragraph::new(lines), views);
    // Behind the headings.
    state.page_rows = usize::from(body.height.saturating_sub(1)).max(1);
    if state.looked_into.is_some() {
        draw_details(frame, state, body);
    } else {
        draw_table(frame, state, body);
    }
    frame.render_widget(Paragraph::new(key_line(state)), keys);
}

fn instance(state: &State) -> Line<'_> {
    let snapshot = &state.snapshot;
    let mut line = vec![Span::styled("onecopy ", FAINT), Span::styled(&*state.instance, STRONG)];
    match snapshot.broker_pid {
        None => line.push(Span::styled("  no broker runs this instance", BAD)),
        Some(pid) => {
            let inside = snapshot.nodes.iter().find(|node| node.pid == pid);
            let broker = inside.map_or("onecopy serve", |node| &*node.name);
            let memory: u64 = snapshot.nodes.iter().map(|node| node.memory_bytes).sum();
            let shared = snapshot.regions.iter().filter(|region| region.lock_waits.is_some());
            let shared: u64 = shared.map(|region| region.memory_bytes).sum();
            line.push(Span::raw(format!(
                "  broker {broker} ({pid})  {}  {}",
                counted(snapshot.nodes.len(), "node"),
                bytes(memory + shared)
            )));
        }
    }
    Line::from(line)
}

fn view_line(state: &State) -> Line<'static> {
    let mut line = Vec::new();
    for (index, view) in VIEWS.into_iter().enumerate() {
        let style = if view == state.view { HERE } else { Style::new() };
        line.push(Span::styled(format!(" {} {} ", index + 1, view.title()), style));
        line.push(Span::raw(" "));
    }
    if state.is_typing || !state.filter.is_empty() {
        let cursor = if state.is_typing { "▏" } else { "" };
        line.push(Span::styled(format!("/{}{cursor}", state.filter), STRONG));
    }
    Line::from(line)
}

/// Nodes that do not go on; an empty line if there are none.
fn stuck_line(state: &State) -> Line<'static> {
    let stuck = &state.snapshot.stuck;
    let Some(first) = stuck.first() else { return Line::default() };
    let others = if stuck.len() > 1 { format!("{} stuck; ", stuck.len()) } else { String::new() };
    Line::styled(format!("{others}{first}"), BAD)
}

fn key_line(state: &State) -> Line<'static> {
    let keys = if state.is_typing {
        "type to filter  Enter keep  Esc take away"
    } else if state.looked_into.is_some() {
        "Esc back  up/down scroll  1-6 views  q end"
    } else {
        "1-6 views  Enter look into  s sort  r reverse  / filter  q end"
    };
    Line::from(Span::styled(keys, FAINT))
}

fn draw_table(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let table = state.table();
    if table.rows.is_empty() {
        let what = state.view.title().to_lowercase();
        let text = if state.filter.is_empty() {
            format!("no {what}")
        } else {
            format!("no {what} with {:?}", state.filter)
        };
        return frame.render_widget(Paragraph::new(text).style(FAINT), area);
    }
    let order = state.order();
    let arrow = if order.is_descending { "▾" } else { "▴" };
    let headings: Vec<String> = table
        .columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let is_order = index == order.column;
            format!("{}{}", column.heading, if is_order { arrow } else { "" })
        })
        .collect();
    let mut selection = TableState::new().with_selected(state.selected_row(&table));
    let widget = widget(&table, 0..table.rows.len(), Some(&headings)).row_highlight_style(HERE);
    frame.render_stateful_widget(widget, area, &mut selection);
}

fn draw_details(frame: &mut Frame<'_>, state: &mut State, area: Rect) {
    let Some(tables) = state.details() else {
        return frame.render_widget(Paragraph::new("it is gone; Esc goes back").style(FAINT), area);
    };
    let height = |(_, table): &(String, Table)| match (table.columns.is_empty(), table.rows.len()) {
        (true, _) => 1,
        // Title, headings, rows, an empty line.
        (false, rows) => 3 + u16::try_from(rows).unwrap_or(u16::MAX - 3),
    };
    let total = tables.iter().map(height).fold(0, u16::saturating_add);
    state.scrolled = state.scrolled.min(total.saturating_sub(area.height));
    let mut line = 0_u16;
    for table in &tables {
        let begins = line;
        line = line.saturating_add(height(table));
        let (title, table) = table;
        // Lines above and below the screen are not drawn.
        let row = |offset: u16| {
            let row = begins.checked_add(offset)?.checked_sub(state.scrolled)?;
            (row < area.height).then(|| Rect { y: area.y + row, height: 1, ..area })
        };
        if let Some(place) = row(0) {
            frame.render_widget(Paragraph::new(&**title).style(STRONG), place);
        }
        if table.columns.is_empty() {
            continue;
        }
        let headings: Vec<String> = table.columns.iter().map(|column| column.heading.to_owned()).collect();
        if let Some(place) = row(1) {
            frame.render_widget(widget(table, 0..0, Some(&headings)), place);
        }
        for index in 0..table.rows.len() {
            if let Some(place) = u16::try_from(index + 2).ok().and_then(&row) {
                frame.render_widget(widget(table, index..index + 1, None), place);
            }
        }
    }
}

/// Some rows of a table, below its headings if they are wanted.
fn widget(table: &Table, rows: Range<usize>, headings: Option<&[String]>) -> TableWidget<'static> {
    let is_text = |index: usize| {
        let mut cells = table.rows.iter().filter_map(|row| row.cells.get(index));
        cells.any(|cell| cell.number.is_none())
    };
    let align = |index: usize, text: String| {
        // The first column is a name.
        let alignment = if index == 0 || is_text(index) { Alignment::Left } else { Alignment::Right };
        Line::from(text).alignment(alignment)
    };
    let rows = table.rows[rows].iter().map(|row| {
        let cells = row.cells.iter().enumerate().map(|(index, cell)| {
            let line = align(index, cell.text.clone());
            if cell.is_bad { line.style(BAD) } else { line }
        });
        Row::new(cells.collect::<Vec<_>>())
    });
    let widget = TableWidget::new(rows.collect::<Vec<_>>(), widths(&table.columns)).column_spacing(1);
    match headings {
        None => widget,
        Some(headings) => {
            let headings = headings.iter().enumerate().map(|(index, heading)| align(index, heading.clone()));
            widget.header(Row::new(headings.collect::<Vec<_>>()).style(FAINT))
        }
    }
}

fn widths(columns: &[Column]) -> Vec<Constraint> {
    let width = |(index, column): (usize, &Column)| match index {
        0 => Constraint::Fill(1),
        _ => Constraint::Length(column.width),
    };
    columns.iter().enumerate().map(width).collect()
}
