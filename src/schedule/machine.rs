//! What a machine has, what a task asks of it, and what is free: pure accounting.
//!
//! Knows no task and no order; GPUs are numbers here, whatever their names are.

/// What may be in use at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Slots: CPUs.
    pub cpus: usize,
    /// Bytes of memory.
    pub memory: u64,
    /// How many GPUs.
    pub gpus: usize,
}

/// The slots that a task takes while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Demand {
    /// None: it only waits for tasks that it adds.
    None,
    /// So many.
    Cpus(usize),
    /// A fair share of those idle at its start, and at least one.
    Idle,
    /// All that are idle at its start where nothing else could take them soon, else one: for what
    /// gains less from a second slot than another task would.
    Spare,
}

impl Demand {
    /// One slot.
    pub const ONE: Demand = Demand::Cpus(1);

    /// Gives the fewest slots with which it may start.
    fn least(self) -> usize {
        match self {
            Demand::None => 0,
            Demand::Cpus(cpus) => cpus,
            Demand::Idle | Demand::Spare => 1,
        }
    }
}

/// What a task asks for, and what comes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Slots.
    pub demand: Demand,
    /// Bytes of memory.
    pub memory: u64,
    /// How many GPUs.
    pub gpus: usize,
    /// Of those that could start, the highest starts first.
    pub priority: i64,
    /// How long the longest way from it to the end is, in milliseconds, as far as is known.
    pub way: u64,
}

impl From<Demand> for Request {
    fn from(demand: Demand) -> Request {
        Request { demand, memory: 0, gpus: 0, priority: 0, way: 0 }
    }
}

/// What decides whether a task can start now: tasks of one shape can or cannot alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    least: usize,
    memory: u64,
    gpus: usize,
}

impl Request {
    pub(super) fn shape(&self) -> Shape {
        Shape { least: self.demand.least(), memory: self.memory, gpus: self.gpus }
    }
}

/// What a running task has.
#[derive(Debug, Default)]
pub struct Held {
    slots: usize,
    memory: u64,
    /// The numbers of its GPUs.
    pub gpus: Vec<usize>,
}

/// What nobody has.
#[derive(Debug)]
pub struct Free {
    machine: Machine,
    slots: usize,
    memory: u64,
    /// The highest first, so that the lowest is given out.
    gpus: Vec<usize>,
}

impl Free {
    pub(super) fn all(machine: &Machine) -> Free {
        let machine = Machine { cpus: machine.cpus.max(1), ..*machine };
        let gpus = (0..machine.gpus).rev().collect();
        Free { machine, slots: machine.cpus, memory: machine.memory, gpus }
    }

    /// Gives what of a request the machine has at all: what asks for more would wait for ever.
    pub(super) fn clamped(&self, request: Request) -> Request {
        let demand = match request.demand {
            Demand::Cpus(cpus) => Demand::Cpus(cpus.clamp(1, self.machine.cpus)),
            other => other,
        };
        let memory = request.memory.min(self.machine.memory);
        Request { demand, memory, gpus: request.gpus.min(self.machine.gpus), ..request }
    }

    /// Takes what a request asks for with so many slots; it must be free.
    pub(super) fn take(&mut self, request: &Request, slots: usize) -> Held {
        self.slots -= slots;
        self.memory -= request.memory;
        let mut gpus = self.gpus.split_off(self.gpus.len() - request.gpus);
        gpus.reverse();
        Held { slots, memory: request.memory, gpus }
    }

    pub(super) fn give_back(&mut self, held: Held) {
        self.slots += held.slots;
        self.memory += held.memory;
        self.gpus.extend(held.gpus);
        self.gpus.sort_unstable_by(|one, other| other.cmp(one));
    }
}

/// What is left for tasks that would overtake one which does not fit yet.
#[derive(Clone, Copy, Debug)]
pub struct Left {
    /// Slots.
    pub slots: usize,
    memory: u64,
    gpus: usize,
}

impl Left {
    pub(super) fn of(free: &Free) -> Left {
        Left { slots: free.slots, memory: free.memory, gpus: free.gpus.len() }
    }

    pub(super) fn fits(&self, shape: Shape) -> bool {
        shape.least <= self.slots && shape.memory <= self.memory && shape.gpus <= self.gpus
    }

    /// Sets aside what of a shape is free already.
    pub(super) fn reserve(&mut self, shape: Shape) {
        self.slots = self.slots.saturating_sub(shape.least);
        self.memory = self.memory.saturating_sub(shape.memory);
        self.gpus = self.gpus.saturating_sub(shape.gpus);
    }
}
