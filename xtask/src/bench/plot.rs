//! A plot of throughput as SVG.

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::growth::Point;

pub(super) struct Plot<'a> {
    pub(super) title: &'a str,
    pub(super) x: &'a str,
    pub(super) y: &'a str,
    pub(super) points: &'a [Point],
}

const SIZE: (u32, u32) = (720, 400);

/// The number at once grows by factors, so its axis is logarithmic.
pub(super) fn draw(plot: &Plot<'_>) -> Result<String> {
    let most = plot.points.iter().map(|point| point.rate).fold(0.0, f64::max) * 1.1;
    let last = plot.points.iter().map(|point| point.at_once).max().unwrap_or(1);
    let mut svg = String::new();
    let fail = |error: DrawingAreaErrorKind<_>| anyhow!("{}: {error}", plot.title);
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(fail)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(plot.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(80)
            .build_cartesian_2d((1f64..last as f64).log_scale(), 0f64..most)
            .map_err(fail)?;
        chart
            .configure_mesh()
            .x_desc(plot.x)
            .y_desc(plot.y)
            .draw()
            .map_err(fail)?;
        let points = plot.points.iter().map(|point| (point.at_once as f64, point.rate));
        chart
            .draw_series(LineSeries::new(points.clone(), BLUE.stroke_width(2)))
            .map_err(fail)?;
        chart
            .draw_series(points.map(|point| Circle::new(point, 4, BLUE.filled())))
            .map_err(fail)?;
        area.present().map_err(fail)?;
    }
    Ok(svg)
}
