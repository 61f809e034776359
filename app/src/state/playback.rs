//! The playback bar: the cursor and how it moves.

use super::State;

/// Slowest and fastest playing, in steps a second.
pub const SPEEDS: [f64; 2] = [0.5, 120.0];

/// Pause of a loop at its last step, in seconds.
const REST: f64 = 1.5;

/// The longest time step of a frame, in seconds. Frames are drawn only when something moves, and rarely if the processor draws, so
/// a shorter pause is normal.
pub const LONGEST_FRAME: f64 = 0.5;

/// The cursor and how it moves. It counts steps of the lead lane.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Playback {
    /// Steps of the lead lane before the state that is shown.
    pub cursor: usize,
    /// Whether it moves by itself.
    pub playing: bool,
    /// Whether it starts again after the end.
    pub looping: bool,
    /// Steps a second.
    pub speed: f64,
    /// Whether the cursor follows the computation; else it walks through what was recorded.
    pub live: bool,
    /// Part of a step that has passed since the last one.
    phase: f64,
    /// A time to move to when the lead lane has chosen its steps until then.
    sought: Option<f64>,
}

impl Default for Playback {
    fn default() -> Self {
        Playback {
            cursor: 0,
            playing: true,
            looping: true,
            speed: 15.0,
            live: true,
            phase: 0.0,
            sought: None,
        }
    }
}

impl Playback {
    /// Advances the time by `dt` seconds; `shown(n)` says whether the state after `n` of `total` steps can be shown.
    pub fn tick(&mut self, dt: f64, total: usize, shown: impl Fn(usize) -> bool) {
        if !self.playing || total == 0 {
            return;
        }
        self.phase += dt * self.speed;
        while self.phase >= 1.0 && self.playing {
            if self.cursor >= total {
                if !self.looping {
                    self.playing = false;
                } else if self.phase < REST * self.speed {
                    return;
                } else {
                    self.cursor = 0;
                }
                self.phase = 0.0;
            } else if shown(self.cursor + 1) {
                self.cursor += 1;
                self.phase -= 1.0;
            } else {
                // The computation is slower than the speed: wait, and do not catch up afterwards.
                self.phase = 1.0;
                return;
            }
        }
    }

    /// Seconds until the picture changes by itself; `None` if it does not, or if it waits for the computation.
    pub fn due(&self, total: usize) -> Option<f64> {
        let rest = if self.cursor >= total {
            REST * self.speed
        } else {
            1.0
        };
        let left = (rest - self.phase) / self.speed;
        (self.playing && left > 0.0).then_some(left)
    }

    /// Whether the cursor waits for the computation.
    pub fn waits(&self, total: usize) -> bool {
        self.playing && self.due(total).is_none()
    }

    /// Steps to compute ahead of the cursor. Playback then need not wait for a message, nor the computation for the next frame.
    pub fn ahead(&self) -> usize {
        if self.playing {
            2 + (self.speed * LONGEST_FRAME) as usize
        } else {
            1
        }
    }

    /// Moves to `cursor`.
    pub fn seek(&mut self, cursor: usize) {
        self.cursor = cursor;
        self.phase = 0.0;
    }

    /// The speed, kept within [`SPEEDS`].
    pub fn set_speed(&mut self, speed: f64) {
        if speed.is_finite() {
            self.speed = speed.clamp(SPEEDS[0], SPEEDS[1]);
        }
    }
}

/// What can happen to the cursor.
#[derive(Debug, Clone, PartialEq)]
pub enum PlaybackAction {
    /// Play or pause.
    TogglePlay,
    /// One step of the lead lane forward; pauses.
    StepForward,
    /// One step of the lead lane back; pauses.
    StepBack,
    /// To the noise; pauses.
    Home,
    /// To the last step, which is computed if it was not yet; pauses.
    End,
    /// To this step of the lead lane; pauses.
    Seek(usize),
    /// To this time, or the last step before it; pauses.
    SeekTime(f64),
    /// Start again after the end, or stop there.
    ToggleLoop,
    /// Twice the speed.
    Faster,
    /// Half the speed.
    Slower,
    /// Steps a second.
    SetSpeed(f64),
    /// Seconds that have passed.
    Tick(f64),
}

impl State {
    /// Moves the cursor.
    pub(super) fn play(&mut self, action: PlaybackAction) {
        if !matches!(action, PlaybackAction::Tick(_)) {
            self.playback.sought = None;
        }
        match action {
            PlaybackAction::TogglePlay => self.toggle_play(),
            PlaybackAction::StepForward => self.seek(self.playback.cursor + 1),
            PlaybackAction::StepBack => self.seek(self.playback.cursor.saturating_sub(1)),
            PlaybackAction::Home => self.seek(0),
            PlaybackAction::End => self.seek(self.n_steps()),
            PlaybackAction::Seek(step) => self.seek(step),
            PlaybackAction::SeekTime(t) => self.seek_time(t),
            PlaybackAction::ToggleLoop => self.playback.looping = !self.playback.looping,
            PlaybackAction::Faster => self.playback.set_speed(2.0 * self.playback.speed),
            PlaybackAction::Slower => self.playback.set_speed(0.5 * self.playback.speed),
            PlaybackAction::SetSpeed(speed) => self.playback.set_speed(speed),
            PlaybackAction::Tick(dt) => self.tick(dt),
        }
    }

    fn toggle_play(&mut self) {
        let playing = !self.playback.playing;
        if playing && self.playback.cursor >= self.n_steps() {
            self.playback.seek(0);
        }
        self.playback.playing = playing;
    }

    fn seek(&mut self, cursor: usize) {
        let head = self.lead_record().frames.len();
        self.playback.playing = false;
        self.playback.seek(cursor.min(self.n_steps()));
        self.playback.live = self.playback.cursor + 1 >= head;
    }

    fn seek_time(&mut self, t: f64) {
        let record = self.lead_record();
        let (n, is_known) = (record.steps_until(t), record.reaches(t));
        self.seek(n);
        self.playback.sought = (!is_known).then_some(t);
    }

    /// Goes on to a time whose step was not known.
    pub(super) fn seek_on(&mut self) {
        if let Some(t) = self.playback.sought {
            self.seek_time(t);
        }
    }

    fn tick(&mut self, dt: f64) {
        let mut playback = self.playback;
        playback.tick(dt, self.n_steps(), |n| self.is_shown(n));
        if playback.cursor < self.playback.cursor {
            playback.live = false;
        }
        self.playback = playback;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plays_at_its_speed_waits_and_loops() {
        let mut p = Playback {
            speed: 10.0,
            ..Playback::default()
        };
        p.tick(0.35, 5, |_| true);
        assert_eq!(p.cursor, 3);
        assert!((p.due(5).unwrap() - 0.05).abs() < 1e-9);
        // Waits for steps that are not computed yet, and does not catch up afterwards.
        p.tick(9.0, 5, |n| n <= 4);
        assert_eq!((p.cursor, p.due(5)), (4, None));
        assert!(p.waits(5));
        p.tick(0.0, 5, |_| true);
        assert_eq!(p.cursor, 5);
        // It pauses at the end, then starts again.
        p.tick(1.0, 5, |_| true);
        assert_eq!((p.cursor, p.playing), (5, true));
        assert!(!p.waits(5));
        p.tick(0.6, 5, |_| true);
        assert_eq!(p.cursor, 0);
        p.looping = false;
        p.tick(0.6, 5, |_| true);
        p.tick(0.2, 5, |_| true);
        assert_eq!((p.cursor, p.playing), (5, false));
    }
}
