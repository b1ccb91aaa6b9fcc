//! How throughput grows with what goes on at once.

use std::fmt::{Display, Write as _};

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::row::median;
use super::setup::{SLICE_LEN, SLICES, Setup};

pub(super) const NAME: &str = "growth";

/// Readers at once.
const READERS: [u64; 7] = [1, 2, 4, 16, 64, 256, 1000];
/// Reads, by all together.
const READS: u64 = 1_000_000;
/// Layers at once.
const FILLS: [u64; 4] = [1, 2, 4, 8];

/// How much was done in a second, with how many at once, and how many cores were busy.
pub(super) struct Point {
    pub(super) at_once: u64,
    pub(super) rate: f64,
    cores: f64,
}

pub(super) struct Growth {
    /// Reads of 4 KiB a second.
    pub(super) reads: Vec<Point>,
    /// MiB of layers a second.
    pub(super) fills: Vec<Point>,
}

pub(super) fn measure(setup: &Setup, runs: usize) -> Result<Growth> {
    let image = setup.slices()?.reference();
    let mut fills = Vec::new();
    for at_once in FILLS.into_iter().filter(|at_once| *at_once <= SLICES) {
        fills.push(point(at_once, runs, || {
            setup.clear("cold")?;
            let limit = format!("max_concurrent_fills = {at_once}\n");
            let config = setup.config("fills", &[&limit, &setup.disk("cold")])?;
            let figures = setup.work(
                "fill",
                &[("config", &config), ("image", &image), ("first", &at_once)],
            )?;
            let mib = (at_once * SLICE_LEN) as f64 / f64::from(1 << 20);
            Ok((mib / figures.seconds, figures.cpu_seconds / figures.seconds))
        })?);
    }
    let mut reads = Vec::new();
    for at_once in READERS {
        reads.push(point(at_once, runs, || {
            let config = setup.config("warm", &[&setup.disk("warm")])?;
            let options: [(&str, &dyn Display); 7] = [
                ("config", &config),
                ("image", &setup.layout("gzip")),
                ("via", &"layer"),
                ("order", &"random"),
                ("len", &4096),
                ("count", &READS),
                ("readers", &at_once),
            ];
            let figures = setup.work("read", &options)?;
            Ok((
                READS as f64 / figures.seconds,
                figures.cpu_seconds / figures.seconds,
            ))
        })?);
    }
    Ok(Growth { reads, fills })
}

fn point(at_once: u64, runs: usize, mut run: impl FnMut() -> Result<(f64, f64)>) -> Result<Point> {
    let runs = (0..runs).map(|_| run()).collect::<Result<Vec<_>>>()?;
    let (mut rates, mut cores): (Vec<_>, Vec<_>) = runs.into_iter().unzip();
    Ok(Point {
        at_once,
        rate: median(&mut rates),
        cores: median(&mut cores),
    })
}

pub(super) fn tables(growth: &Growth) -> String {
    let table = |head: &str, points: &[Point]| {
        let mut table = format!("| {head} | cores busy |\n|---|---|---|\n");
        for Point { at_once, rate, cores } in points {
            let _ = writeln!(table, "| {at_once} | {rate:.0} | {cores:.1} |");
        }
        table
    };
    format!(
        "{}\n{}",
        table("readers | reads of 4 KiB a second", &growth.reads),
        table("fills at once | MiB of layers a second", &growth.fills)
    )
}

/// The two plots, with the names of their files.
pub(super) fn plots(growth: &Growth) -> Result<[(&'static str, String); 2]> {
    let reads = Plot {
        title: "Reads of 4 KiB, page cache warm",
        x: "readers at once",
        y: "reads a second",
        points: &growth.reads,
    };
    let fills = Plot {
        title: "Fills from a layout, gzip",
        x: "layers at once",
        y: "MiB a second",
        points: &growth.fills,
    };
    Ok([("reads.svg", draw(&reads)?), ("fills.svg", draw(&fills)?)])
}

/// A plot of throughput.
struct Plot<'a> {
    title: &'a str,
    x: &'a str,
    y: &'a str,
    points: &'a [Point],
}

const SIZE: (u32, u32) = (720, 400);

/// The number at once grows by factors, so its axis is logarithmic.
fn draw(plot: &Plot<'_>) -> Result<String> {
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
