use super::super::Graph;
use super::super::tests::templates;
use super::layout::{Area, Layout, layout};
use super::*;

fn overlap(a: &Area, b: &Area) -> bool {
    a.x < b.right() && b.x < a.right() && a.y < b.bottom() && b.y < a.bottom()
}

/// Where the letters of a label are.
fn label_area(line: &Line<'_>) -> Area {
    let (x, y) = line.label_at;
    let width = width(&line.link.label(), LABEL_SIZE);
    let x = if line.anchor == Anchor::End { x - width } else { x };
    Area { x, y: y - LABEL_SIZE + 2.0, width, height: LABEL_SIZE }
}

/// Whether a line runs through the inside of a rectangle. Lines are level or upright.
fn runs_through(points: &[(f64, f64)], area: &Area) -> bool {
    points.windows(2).any(|pair| {
        let (from, to) = (pair[0], pair[1]);
        let x = (from.0.min(to.0), from.0.max(to.0));
        let y = (from.1.min(to.1), from.1.max(to.1));
        assert!(x.0 == x.1 || y.0 == y.1, "{pair:?} is slanted");
        x.0 < area.right() - 1.0
            && area.x + 1.0 < x.1
            && y.0 < area.bottom() - 1.0
            && area.y + 1.0 < y.1
    })
}

fn each_layout(check: impl Fn(&str, &Graph, &Layout<'_>)) {
    for template in templates() {
        let graph = Graph::of(&template);
        check(&template.file, &graph, &layout(&graph, 100.0));
    }
}

#[test]
fn nothing_lies_on_anything_else() {
    each_layout(|file, _, layout| {
        let labels: Vec<Area> = layout.lines.iter().map(label_area).collect();
        let ends: Vec<Area> = layout.ends.iter().map(|(area, _)| *area).collect();
        let all: Vec<&Area> = layout.nodes.iter().chain(&ends).chain(&labels).collect();
        for (n, one) in all.iter().enumerate() {
            for other in &all[n + 1..] {
                assert!(!overlap(one, other), "{file}: {one:?} and {other:?}");
            }
        }
    });
}

#[test]
fn no_line_crosses_a_step_or_a_target() {
    each_layout(|file, graph, layout| {
        for line in &layout.lines {
            for (n, node) in layout.nodes.iter().enumerate() {
                // Into the slanted side of its own step or of the one it leads to.
                let own = line.link.from == n || line.link.to == Place::Node(n);
                let name = &graph.nodes[n].id;
                assert!(own || !runs_through(&line.points, node), "{file}: a line through {name}");
            }
            for (end, _) in &layout.ends {
                assert!(!runs_through(&line.points, end), "{file}: a line through a target");
            }
        }
    });
}

#[test]
fn every_line_arrives() {
    each_layout(|file, graph, layout| {
        assert_eq!(layout.lines.len(), graph.links.len(), "{file}");
        for line in &layout.lines {
            let &(x, y) = line.points.last().unwrap();
            let joins = |other: &&Line<'_>| {
                other.arrives && other.link.to == line.link.to && runs_along(&other.points, x, y)
            };
            let at = |area: &Area| {
                (area.x..=area.right()).contains(&x) && (area.y..=area.bottom()).contains(&y)
            };
            let arrived = match &line.link.to {
                _ if !line.arrives => layout.lines.iter().any(|other| joins(&other)),
                Place::Node(n) => at(&layout.nodes[*n]),
                Place::End { .. } => {
                    layout.ends.iter().any(|(area, link)| at(area) && link.to == line.link.to)
                }
            };
            assert!(arrived, "{file}: {} ends at {x}, {y}", line.link.label());
        }
    });
}

fn runs_along(points: &[(f64, f64)], x: f64, y: f64) -> bool {
    points.windows(2).any(|pair| {
        let (from, to) = (pair[0], pair[1]);
        let between = |at: f64, a: f64, b: f64| (a.min(b)..=a.max(b)).contains(&at);
        between(x, from.0, to.0) && between(y, from.1, to.1)
    })
}

#[test]
fn everything_is_on_the_page() {
    each_layout(|file, graph, layout| {
        let page =
            Area { x: 0.0, y: 0.0, width: layout.right + MARGIN, height: layout.foot + MARGIN };
        let labels = layout.lines.iter().map(label_area);
        let ends = layout.ends.iter().map(|(area, _)| *area);
        let bands = layout.bands.iter().map(|band| band.area);
        for area in layout.nodes.iter().copied().chain(ends).chain(labels).chain(bands) {
            let inside = area.x >= 0.0
                && area.y >= 0.0
                && area.right() <= page.right()
                && area.bottom() <= page.bottom();
            assert!(inside, "{file}: {area:?} is not on {page:?}");
        }
        assert_eq!(layout.nodes.len(), graph.nodes.len());
    });
}

#[test]
fn what_xml_cannot_hold_becomes_a_question_mark() {
    assert_eq!(escaped("a<b>&\"'\u{0}\u{1b}\u{ffff}\tz"), "a&lt;b&gt;&amp;&quot;&apos;???\tz");
}
