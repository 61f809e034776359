use super::*;
use crate::state::{
    Action, Frame, LanesAction, Layout, Model, PlaybackAction, Quantity, RunAction, Settings,
    Source, State, ViewAction, ode, sde,
};
use eframe::egui_wgpu::RendererOptions;
use egui_kittest::wgpu::{create_render_state, default_wgpu_setup};
use sit_engine::backend::gpu::Gpu;
use sit_engine::model::{Dit, Network as _};
use sit_engine::transport::{Diffusion, Guidance, Method, SdeMethod, Transport};

const SAMPLES: usize = 5;
const STEPS: u32 = 3;

/// Numbers on both sides of every scale, some of them at its ends and its middle.
fn numbers(len: usize, seed: usize) -> Arc<[f32]> {
    let number = |i: usize| match i % 11 {
        0 => 0.0,
        1 => 1.0,
        2 => -1.0,
        _ => 2.0 * (0.7 * i as f32 + 1.3 * seed as f32).sin(),
    };
    (0..len).map(number).collect()
}

/// Two lanes of Heun steps as if computed, the second one with noise.
fn recorded(channels: usize, guided: bool) -> State {
    let mut state = State::default();
    for (lane, sampler) in [
        ode(Method::Heun, STEPS),
        sde(SdeMethod::Heun, Diffusion::default(), STEPS),
    ]
    .into_iter()
    .enumerate()
    {
        let settings = Settings {
            sampler,
            guidance: Guidance {
                scale: if guided { 1.5 } else { 1.0 },
                ..Guidance::default()
            },
            ..Settings::default()
        };
        state.apply(LanesAction::SetLane(lane, settings));
    }
    state.apply(LanesAction::SetSamples(SAMPLES));
    let config = Dit {
        input_size: 4,
        channels,
        ..Dit::preset("SiT-S/2").unwrap()
    };
    let len = SAMPLES * config.io().image_len();
    state.apply(Action::ModelReady(Box::new(Model {
        latents: None,
        of_images: false,
        source: Source::File("a test".into()),
        io: config.io(),
        network: Some(config.into()),
        transport: Transport::default(),
        classes: Vec::new(),
    })));
    for record in state.records.clone() {
        assert_eq!(record.failure, None);
        let run = record.run;
        let array = |k: usize| numbers(len, 10 * run as usize + k);
        state.apply(RunAction::Started { run, x: array(0) });
        for (k, step) in record.steps.iter().enumerate() {
            let frame = Frame {
                x: array(4 * k + 1),
                cond: array(4 * k + 2),
                uncond: guided.then(|| array(4 * k + 3)),
                noise: (step.noise() != 0.0).then(|| array(4 * k + 4)),
                ms: 0.0,
                ..Frame::default()
            };
            let step = Box::new(*step);
            state.apply(RunAction::Stepped { run, step, frame });
        }
    }
    state
}

fn render_state() -> RenderState {
    create_render_state(default_wgpu_setup(), RendererOptions::PREDICTABLE)
}

fn twins(render: &RenderState, state: &State) -> Twins {
    let (device, queue) = (render.device.clone(), render.queue.clone());
    let gpu = Gpu::share(device, queue, render.adapter.get_info()).unwrap();
    let twins = Twins::new(gpu, 1 << 20);
    for record in &state.records {
        twins.upload(&record.start);
        for frame in &record.frames {
            let more = frame.uncond.iter().chain(&frame.noise);
            [&frame.x, &frame.cond]
                .into_iter()
                .chain(more)
                .for_each(|array| twins.upload(array));
        }
    }
    twins
}

/// The pixels of a canvas, four bytes each.
fn pixels(painter: &Painter, canvas: &Canvas) -> Vec<[u8; 4]> {
    let size = canvas.texture.size();
    let row = (4 * size.width).next_multiple_of(wgpu::COPY_BYTES_PER_ROW_ALIGNMENT);
    let buffer = painter.device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: u64::from(row * size.height),
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let mut encoder = painter.device.create_command_encoder(&Default::default());
    let layout = wgpu::TexelCopyBufferLayout {
        offset: 0,
        bytes_per_row: Some(row),
        rows_per_image: None,
    };
    let target = wgpu::TexelCopyBufferInfo {
        buffer: &buffer,
        layout,
    };
    encoder.copy_texture_to_buffer(canvas.texture.as_image_copy(), target, size);
    painter.queue.submit(Some(encoder.finish()));
    buffer.map_async(wgpu::MapMode::Read, .., |result| result.unwrap());
    painter
        .device
        .poll(wgpu::PollType::wait_indefinitely())
        .unwrap();
    let bytes = buffer.get_mapped_range(..).unwrap();
    bytes
        .chunks(row as usize)
        .flat_map(|row| row[..4 * size.width as usize].as_chunks().0.to_vec())
        .collect()
}

#[test]
fn the_gpu_draws_what_the_cpu_draws() {
    let render = render_state();
    for (channels, guided) in [(1, false), (1, true), (3, false), (3, true)] {
        let mut state = recorded(channels, guided);
        let painter = Painter::new(&render, twins(&render, &state));
        let (mut canvas, mut n_pixels, mut n_other) = (None, 0, 0);
        for quantity in Quantity::ALL {
            state.apply(ViewAction::SetQuantity(quantity));
            let mut n_pictures = 0;
            for (layout, cursor) in [Layout::Grid, Layout::Film]
                .into_iter()
                .flat_map(|layout| (0..=STEPS as usize).map(move |cursor| (layout, cursor)))
            {
                state.apply(ViewAction::SetLayout(layout));
                state.apply(PlaybackAction::Seek(cursor));
                for lane in 0..2 {
                    let Some(figure) = Figure::of(&state, lane) else {
                        continue;
                    };
                    let what = format!(
                        "{quantity:?} {layout:?} of lane {lane} after {cursor}, {channels} channels"
                    );
                    let painted = painter.paint(&figure, canvas.take()).expect(&what);
                    let (got, want) = (pixels(&painter, &painted), figure.image().unwrap());
                    assert_eq!(got.len(), want.pixels.len(), "{what}");
                    for (i, (got, want)) in got.iter().zip(&want.pixels).enumerate() {
                        let want = want.to_array();
                        // Compilers may fuse a product and a sum, and a root may differ in its last bit: a value between two levels
                        // can be rounded either way.
                        let near = (0..4).all(|c| got[c].abs_diff(want[c]) <= 1);
                        assert!(near, "{what}, pixel {i}: {got:?}, by the CPU {want:?}");
                        n_other += usize::from(*got != want);
                    }
                    n_pixels += got.len();
                    canvas = Some(painted);
                    n_pictures += 1;
                }
            }
            let needs_guidance =
                matches!(quantity, Quantity::VelocityUncond | Quantity::VelocityGuide);
            assert_eq!(n_pictures > 0, guided || !needs_guidance, "{quantity:?}");
        }
        // Nearly all of them are rounded the same way.
        assert!(n_other * 100 < n_pixels, "{n_other} of {n_pixels} differ");
    }
}

#[test]
fn what_is_not_all_on_the_gpu_is_left_to_the_cpu() {
    let render = render_state();
    let state = recorded(1, true);
    let twins = twins(&render, &state);
    let painter = Painter::new(&render, twins.clone());
    let figure = Figure::of(&state, 0).unwrap();
    assert!(painter.paint(&figure, None).is_some());
    // The same numbers, but these arrays have no twins.
    let other = recorded(1, true);
    let figure = Figure::of(&other, 0).unwrap();
    assert!(painter.paint(&figure, None).is_none());
}
