//! The screen of `waybill top`: figures, what fails by cause, workers.

use ratatui::{
    Frame, Terminal,
    backend::TestBackend,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Cell, Paragraph, Row, Table},
};
use waybill_platform::trace;
use waybill_schemas::Timestamp;

use super::{Cause, Snapshot, Worker};
use crate::{Failure, output, text::printable};

const SOFT: Style = Style::new().fg(Color::DarkGray);
const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);
/// Lines of one cause: what it is, and what to do.
const CAUSE: u16 = 2;

pub(super) fn draw(frame: &mut Frame<'_>, title: &str, snapshot: &Snapshot, problem: Option<&str>) {
    let workers = u16::try_from(snapshot.figures.workers.len()).unwrap_or(u16::MAX).saturating_add(2);
    let parts =
        [Constraint::Length(1), Constraint::Length(3), Constraint::Fill(1), Constraint::Length(workers.min(14))];
    let [head, figures, causes, workers] = Layout::vertical(parts).areas(frame.area());
    let said = problem
        .map_or_else(|| Span::styled("  q ends", SOFT), |why| Span::styled(format!("  {}", printable(why)), bad(true)));
    frame.render_widget(
        Line::from(vec![Span::styled("waybill top", STRONG), Span::raw(format!("  {title}")), said]),
        head,
    );
    draw_figures(frame, snapshot, figures);
    draw_causes(frame, &snapshot.causes, causes);
    draw_workers(frame, &snapshot.figures.workers, workers);
}

/// Red where it is so.
fn bad(is_bad: bool) -> Style {
    if is_bad { Style::new().fg(Color::Red) } else { Style::new() }
}

fn draw_figures(frame: &mut Frame<'_>, Snapshot { figures, .. }: &Snapshot, area: Rect) {
    let lag = figures.lag.map_or_else(|| "away".to_owned(), |lag| format!("{lag} behind"));
    let cells = [
        ("builds/min", figures.builds.to_string(), false),
        ("requests/min", figures.requests.to_string(), false),
        ("decisions/min", figures.decisions.to_string(), false),
        ("pulls/min", figures.pulls.to_string(), false),
        ("placements", figures.placements.to_string(), false),
        ("failing", figures.failing.to_string(), figures.failing > 0),
        ("scheduler", lag, figures.lag != Some(0)),
        ("unreadable", figures.unreadable.to_string(), figures.unreadable > 0),
    ];
    let columns = Layout::horizontal([Constraint::Fill(1); 8]).split(area);
    for ((name, value, is_bad), column) in cells.into_iter().zip(columns.iter()) {
        let lines = vec![Line::styled(name, SOFT), Line::styled(value, bad(is_bad).add_modifier(Modifier::BOLD))];
        frame.render_widget(Paragraph::new(lines), *column);
    }
}

fn draw_causes(frame: &mut Frame<'_>, causes: &[Cause], area: Rect) {
    let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    frame.render_widget(Line::styled("what failed in the last hour, by cause", SOFT), head);
    if causes.is_empty() {
        frame.render_widget(Line::raw("nothing"), body);
    }
    let most = usize::from(body.height / CAUSE);
    for (index, cause) in causes.iter().take(most).enumerate() {
        let y = body.y.saturating_add(u16::try_from(index).unwrap_or(u16::MAX).saturating_mul(CAUSE));
        frame.render_widget(describe(cause), Rect { y, height: CAUSE, ..body });
    }
}

fn describe(cause: &Cause) -> Paragraph<'_> {
    let reach = format!("{} containers ({} still), {} workers", cause.containers, cause.still, cause.workers);
    let what = Line::from(vec![
        Span::styled(format!("{:<24}", printable(&cause.code)), bad(true)),
        Span::raw(format!(" {:<10} {:<32} {reach}", cause.hop, printable(&cause.about))),
    ]);
    let remedy = if cause.remedy.is_empty() { String::new() } else { format!("  → {}", printable(&cause.remedy)) };
    Paragraph::new(vec![what, Line::styled(remedy, SOFT)])
}

fn draw_workers(frame: &mut Frame<'_>, workers: &[Worker], area: Rect) {
    let now = trace::now();
    let row = |worker: &Worker| {
        let heard = worker.heard_at.map_or_else(|| "never".to_owned(), |at| ago(at, now));
        Row::new([
            Cell::from(printable(&worker.worker_id)),
            Cell::from(worker.placements.to_string()),
            Cell::from(worker.in_flight.to_string()),
            Cell::from(worker.broken.to_string()).style(bad(worker.broken > 0)),
            Cell::from(heard),
        ])
    };
    let widths =
        [Constraint::Fill(2), Constraint::Fill(1), Constraint::Fill(1), Constraint::Fill(1), Constraint::Fill(1)];
    let head = Row::new(["worker", "placements", "waiting", "failing", "last heard of"]).style(SOFT);
    frame.render_widget(Table::new(workers.iter().map(row), widths).header(head), area);
}

fn ago(at: Timestamp, now: Timestamp) -> String {
    let elapsed = (now.instant() - at.instant()).whole_milliseconds().max(0);
    format!("{} ago", output::spell_ms(i64::try_from(elapsed).unwrap_or(i64::MAX)))
}

/// The screen as text, for where there is no terminal.
pub(super) fn print(title: &str, snapshot: &Snapshot, (width, height): (u16, u16)) -> Result<String, Failure> {
    let mut terminal = Terminal::new(TestBackend::new(width, height))?;
    terminal.draw(|frame| draw(frame, title, snapshot, None))?;
    let buffer = terminal.backend().buffer();
    let line =
        |row: &[ratatui::buffer::Cell]| row.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned();
    let mut lines: Vec<String> = buffer.content().chunks(usize::from(width)).map(line).collect();
    lines.dedup_by(|line, before| line.is_empty() && before.is_empty());
    Ok(lines.join("\n").trim_end().replacen("  q ends", "", 1))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_screen_has_the_figures_the_causes_and_the_workers() {
        let snapshot = json!({
            "figures": {
                "builds": 3, "requests": 14, "decisions": 15, "pulls": 9, "placements": 800, "failing": 12, "lag": 7,
                "unreadable": 0,
                "workers": [{ "worker_id": "node-1\u{1b}", "placements": 800, "broken": 12, "in_flight": 2, "heard_at": null }],
            },
            "causes": [{
                "hop": "pull", "code": "unauthorized", "about": "secret team", "containers": 12, "still": 11, "workers": 1,
                "remedy": "Give the secret a new version.",
            }],
        });
        let snapshot: Snapshot = serde_json::from_value(snapshot).unwrap();
        let text = print("workspace acme", &snapshot, (110, 20)).unwrap();
        for part in [
            "waybill top  workspace acme",
            "7 behind",
            "unauthorized             pull       secret team",
            "12 containers (11 still), 1 workers",
            "  → Give the secret a new version.",
            "node-1\\u{1b}",
            "never",
        ] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
        let calm = Snapshot { causes: Vec::new(), ..snapshot };
        assert!(print("workspace acme", &calm, (80, 24)).unwrap().contains("by cause\nnothing"));
    }
}
