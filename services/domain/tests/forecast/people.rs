//! Who is in a world, and what is planned for them.

use crate::world::{Act, DAY, HOUR, Image, Keeper, Secret, Use, Worker, World};

pub(crate) const WORKERS: usize = 30;
/// Secrets with an end, and images with others.
pub(crate) const ENDING: usize = 72;
pub(crate) const PULLED: usize = 40;
pub(crate) const TOKENS: usize = 24;
/// Everything that happens happens before.
pub(crate) const END: i64 = 60 * DAY;

impl World {
    pub(crate) fn people(&mut self) {
        for worker in 0..WORKERS {
            self.workers.push(Worker { alive: true, joined: true });
            self.register(worker);
            let when = 21 * DAY + self.roll(26 * DAY);
            match worker % 6 {
                0 => self.at(when, Act::Die(worker)),
                1 => self.at(when, Act::Retire(worker)),
                _ => {}
            }
        }
        let when = DAY + self.roll(5 * DAY);
        self.at(when, Act::ReplaceKey(1));
        for number in 0..ENDING {
            let (keeper, life) = match number % 6 {
                0 => (Keeper::Program { stops: 20 * DAY + self.roll(25 * DAY) }, 7 * DAY),
                1 | 2 => (Keeper::Program { stops: END }, 7 * DAY),
                3 => (Keeper::Person { lead: -DAY - self.roll(DAY) }, 22 * DAY + self.roll(24 * DAY)),
                _ => (Keeper::Person { lead: 4 * DAY + self.roll(6 * DAY) }, 22 * DAY + self.roll(24 * DAY)),
            };
            self.secrets.push(Secret { keeper, version: 0, ends: None, life });
            self.renew(number);
            let ends = self.secrets[number].ends.unwrap();
            let used = match number % 4 {
                0 => Use::Service,
                1 if matches!(keeper, Keeper::Person { .. }) => {
                    Use::Leaving { at: ends - 4 * DAY - self.roll(8 * DAY) }
                }
                1 | 2 => Use::Batch { every: 6 * HOUR, life: 40 },
                _ => Use::Batch { every: 3 * HOUR, life: 20 },
            };
            self.add_image(number, used);
        }
        for number in ENDING..ENDING + PULLED {
            self.secrets.push(Secret { keeper: Keeper::Nobody, version: 0, ends: None, life: 0 });
            self.renew(number);
            self.add_image(number, Use::Batch { every: 9 * HOUR, life: 2 * HOUR });
            let when = 21 * DAY + self.roll(24 * DAY);
            if number.is_multiple_of(2) {
                self.at(when, Act::Spoil(number));
            }
        }
        for token in 0..TOKENS {
            let ends = 22 * DAY + self.roll(26 * DAY);
            self.at(0, Act::CreateToken(token, ends));
            match token % 3 {
                // Its heir is for the same, and comes in time.
                0 => self.at(ends - 4 * DAY, Act::CreateToken(token + 100, ends + 60 * DAY)),
                1 => self.at(ends - 4 * DAY, Act::RevokeToken(token)),
                _ => self.at(ends, Act::EndToken(token)),
            }
        }
    }

    fn add_image(&mut self, secret: usize, used: Use) {
        let image = self.images.len();
        self.images.push(Image { secret, used, spoiled: false, placements: Vec::new(), asked: 0 });
        self.build(image);
        let first = self.roll(6 * HOUR);
        self.at(first, Act::Ask(image));
    }
}
